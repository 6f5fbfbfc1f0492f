"""The indexer: how a query scores a key, with keys of its own or the attention's."""

from __future__ import annotations

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema import typed
from gsa_dsl.sema.clauses import known_word, repeated
from gsa_dsl.sema.contexts import TENSORS, Context, own_keys_context, score_context
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.parts import Params, check_head, size
from gsa_dsl.sema.typed import IndexerSpec, TypedExpr
from gsa_dsl.sema.types import Typer

_SETTINGS = ("heads", "dim", "keys", "pool")
_EXAMPLES = {"heads": "heads 4", "dim": "dim 64", "keys": "keys shared", "score": "score[t, s] = ..."}


def indexer(clause: ast.Indexer | None, params: Params, mistakes: Mistakes) -> IndexerSpec | None:
    """The indexer, or None if there is none or something in it is wrong."""
    if clause is None:
        return None
    settings = _settings(clause, mistakes)
    repeated("'score'", clause.scores, mistakes)
    keys = _keys(settings["keys"], mistakes) if "keys" in settings else None
    pool = settings.get("pool")
    pooled = pool is None or (
        isinstance(pool.value, ast.Name) and known_word(pool.value, ("mean", "max"), "pooling", mistakes)
    )
    sizes = {
        name: size(settings[name].value, f"'{name}'", 1, params, mistakes) if name in settings else None
        for name in ("heads", "dim")
    }
    if keys == "attention":
        _no_sizes(settings, mistakes)
        sizes = {"heads": 0, "dim": 0}
    for name in [n for n in _EXAMPLES if n not in settings and not (n == "score" and clause.scores)]:
        if sizes.get(name) != 0:
            mistakes.add(
                codes.MISSING_SETTING, f"the indexer has no '{name}'", clause.span, fix=f"add '{_EXAMPLES[name]}'"
            )
    # A missing size is told already; 1 stands in for it so that the score is still checked.
    context = own_keys_context(params)
    if keys != "attention":
        context = score_context(params, *(sizes[name] or 1 for name in ("heads", "dim")))
    score = _score(clause.scores[0], context, mistakes) if clause.scores else None
    heads, dim = sizes["heads"], sizes["dim"]
    if score is None or heads is None or dim is None or keys is None or not pooled:
        return None
    read = {node.name for node in typed.walk(score) if isinstance(node, typed.Leaf)}
    read |= {side for node in typed.walk(score) if isinstance(node, typed.Dot) for side in (node.left, node.right)}
    tensors = tuple(name for name in TENSORS if name in read)
    how = pool.value.id if pool is not None and isinstance(pool.value, ast.Name) else None
    return IndexerSpec(clause.span, heads, dim, score, tensors, keys, how)


def _settings(clause: ast.Indexer, mistakes: Mistakes) -> dict[str, ast.Setting]:
    """The lines of the indexer by their words; of a word given twice, the first."""
    settings: dict[str, ast.Setting] = {}
    for setting in clause.settings:
        if setting.key.id in settings:
            repeated(f"'{setting.key.id}'", (settings[setting.key.id], setting), mistakes)
        elif known_word(setting.key, _SETTINGS, "indexer setting", mistakes):
            settings[setting.key.id] = setting
    return settings


def _keys(setting: ast.Setting, mistakes: Mistakes) -> str | None:
    """Whose keys the indexer scores: ``shared``, ``kv_head`` or ``attention``."""
    word = setting.value
    assert isinstance(word, ast.Name)
    if setting.per:
        return word.id if known_word(word, ("kv_head",), "owner of keys", mistakes) else None
    if word.id == "kv_head":
        fix = "write 'keys per kv_head'"
        mistakes.add(codes.UNKNOWN_WORD, "unknown kind of keys 'kv_head'", word.span, fix=fix)
        return None
    return word.id if known_word(word, ("shared", "attention"), "kind of keys", mistakes) else None


def _no_sizes(settings: dict[str, ast.Setting], mistakes: Mistakes) -> None:
    """Tell the sizes of an indexer that takes those of the attention."""
    for name in ("heads", "dim"):
        if name in settings:
            what = "the head dimension" if name == "dim" else "the query heads of a kv head"
            mistakes.add(
                codes.IDLE_SIZE,
                f"'{name}' is already known",
                settings[name].span,
                reason=f"the keys are the attention's own, so '{name}' of the score is {what}",
                fix="leave it out",
            )


def _score(clause: ast.Score, context: Context, mistakes: Mistakes) -> TypedExpr | None:
    check_head(clause.head, ("t", "s"), "a score compares query t with key s", mistakes)
    score = Typer(context, mistakes).number(clause.body)
    if score is None:
        return None
    text = mistakes.text(clause.body.span)
    if "j" in score.free:
        mistakes.add(
            codes.UNBOUND_HEAD,
            f"'{mistakes.text(_unbound(score).span)}' has one value an indexer head, the score has one value",
            _unbound(score).span,
            reason="j is not bound: nothing reduces over the heads",
            fix=f"write 'sum(j) {text}'",
        )
        return None
    if "s" not in score.free:
        mistakes.add(
            codes.CONSTANT_SCORE,
            f"the score '{text}' is the same for every key",
            clause.body.span,
            reason="it does not vary with s, so nothing tells one key from another",
            fix="compare with the key: 'sum(j) w[t, j] * relu(q[t, j] . k[s])'",
        )
        return None
    return score


def _unbound(expr: TypedExpr) -> TypedExpr:
    """The first part that varies with j and has no smaller such part."""
    part = next((child for child in typed.children(expr) if "j" in child.free), None)
    return expr if part is None else _unbound(part)
