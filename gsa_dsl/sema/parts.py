"""The parts of a checked spec, each built from its clause: scale, logit, indexer, forced keys, training."""

from __future__ import annotations

from collections.abc import Mapping

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema import typed
from gsa_dsl.sema.clauses import known_word, repeated
from gsa_dsl.sema.constants import Number
from gsa_dsl.sema.contexts import TENSORS, logit_context, scale_context, score_context, size_context
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.keywords import keyword_numbers
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.sizes import whole
from gsa_dsl.sema.typed import Forced, IndexerSpec, LogitSpec, SinkSpec, TrainSpec, TypedExpr
from gsa_dsl.sema.types import Typer

Params = Mapping[str, Number]


def size(expr: ast.Expr, what: str, least: int, params: Params, mistakes: Mistakes) -> int | None:
    """``expr`` as a whole number from ``least`` to what a 32-bit position holds."""
    return whole(Typer(size_context(params, what), mistakes).constant(expr, what), expr, what, least, mistakes)


def check_head(head: ast.Index, indices: tuple[str, ...], why: str, mistakes: Mistakes) -> None:
    """Tell a left-hand side that is not indexed by ``indices``."""
    if tuple(index.id for index in head.indices) != indices:
        right = f"{head.base.id}[{', '.join(indices)}]"
        mistakes.add(
            codes.CLAUSE_HEAD,
            f"'{mistakes.text(head.span)}' should be '{right}'",
            head.span,
            reason=why,
            fix=f"write '{right} = ...'",
        )


def scale(clause: ast.Scale | None, params: Params, mistakes: Mistakes) -> TypedExpr | None:
    """What the logits are multiplied by, if the spec says so."""
    return None if clause is None else Typer(scale_context(params), mistakes).number(clause.value)


def logit(
    clause: ast.Logit | None, score: Interval | None, params: Params, mistakes: Mistakes, *, causal: bool
) -> LogitSpec | None:
    """What the softmax is taken of, if the spec says so; ``score`` is the range of its indexer's, if it has one.

    ``causal``: no key lies ahead of its query, and no distance is below 0.
    """
    if clause is None:
        return None
    check_head(clause.head, ("t", "s"), "a logit compares query t with key s, for each query head", mistakes)
    typer = Typer(logit_context(params, score, causal=causal), mistakes)
    body = typer.number(clause.body)
    if body is None:
        return None
    if "s" not in body.free:
        mistakes.add(
            codes.CONSTANT_LOGIT,
            f"the logit '{mistakes.text(clause.body.span)}' is the same for every key",
            clause.body.span,
            reason="it does not vary with s, and what all keys have in common a softmax cancels",
            fix="compare with the key: 'q[t] . k[s] / sqrt(head_dim)'",
        )
        return None
    return LogitSpec(clause.span, body, typer.tables[0] if typer.tables else None)


def sink(clause: ast.Sink | None) -> SinkSpec | None:
    """The learned logit of no key, if the spec has one."""
    return None if clause is None else SinkSpec(clause.span)


def indexer(clause: ast.Indexer | None, params: Params, mistakes: Mistakes) -> IndexerSpec | None:
    """The indexer, or None if there is none or something in it is wrong."""
    if clause is None:
        return None
    settings: dict[str, ast.Setting] = {}
    for setting in clause.settings:
        if setting.key.id in settings:
            repeated(f"'{setting.key.id}'", (settings[setting.key.id], setting), mistakes)
        elif known_word(setting.key, ("heads", "dim", "keys"), "indexer setting", mistakes):
            settings[setting.key.id] = setting
    repeated("'score'", clause.scores, mistakes)
    examples = {"heads": "heads 4", "dim": "dim 64", "keys": "keys shared", "score": "score[t, s] = ..."}
    for name in [n for n in examples if n not in settings and not (n == "score" and clause.scores)]:
        mistakes.add(codes.MISSING_SETTING, f"the indexer has no '{name}'", clause.span, fix=f"add '{examples[name]}'")
    if "keys" in settings:
        kind = settings["keys"].value
        if not isinstance(kind, ast.Name) or not known_word(kind, ("shared",), "kind of keys", mistakes):
            settings.pop("keys")
    sizes = {
        name: size(settings[name].value, f"'{name}'", 1, params, mistakes) if name in settings else None
        for name in ("heads", "dim")
    }
    # A missing size is told already; 1 stands in for it so that the score is still checked.
    heads, dim = (sizes[name] or 1 for name in ("heads", "dim"))
    score = _score(clause.scores[0], params, heads, dim, mistakes) if clause.scores else None
    if score is None or None in sizes.values() or "keys" not in settings:
        return None
    read = {node.name for node in typed.walk(score) if isinstance(node, typed.Leaf)}
    read |= {side for node in typed.walk(score) if isinstance(node, typed.Dot) for side in (node.left, node.right)}
    return IndexerSpec(clause.span, heads, dim, score, tuple(name for name in TENSORS if name in read))


def _score(clause: ast.Score, params: Params, heads: int, dim: int, mistakes: Mistakes) -> TypedExpr | None:
    check_head(clause.head, ("t", "s"), "a score compares query t with key s", mistakes)
    score = Typer(score_context(params, heads, dim), mistakes).number(clause.body)
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


def forced(clause: ast.Always | None, params: Params, mistakes: Mistakes) -> Forced:
    """The keys every query attends to; ``span`` is None without an ``always``."""
    if clause is None:
        return Forced(0, 0, None)
    counts: dict[str, int | None] = {}
    first_item: dict[str, ast.AlwaysItem] = {}
    for item in clause.items:
        kind = item.kind.id
        if not known_word(item.kind, ("first", "last"), "kind of forced keys", mistakes, ("diagonal",)):
            counts[kind] = None
        elif kind in counts:
            repeated(f"'{kind}'", (first_item[kind], item), mistakes)
        else:
            first_item[kind] = item
            counts[kind] = size(item.count, f"'{kind}'", 0, params, mistakes)
    if counts and all(count == 0 for count in counts.values()):
        mistakes.add(
            codes.NOTHING_FORCED,
            "'always' with no key at all",
            clause.span,
            fix="give a count of at least 1, or leave it out",
        )
    return Forced(counts.get("first") or 0, counts.get("last") or 0, clause.span)


def train(clause: ast.Train | None, params: Params, mistakes: Mistakes) -> TrainSpec | None:
    """How the indexer is trained, if it is."""
    if clause is None:
        return None
    good = known_word(clause.method, ("kl",), "way to train", mistakes)
    typer = Typer(size_context(params, "the temperature"), mistakes)
    temperature = float(keyword_numbers(typer, "kl", clause.keywords, {"temperature": 1})["temperature"])
    if temperature <= 0:
        span = next(k.value.span for k in clause.keywords if k.name.id == "temperature")
        mistakes.add(
            codes.BAD_KEYWORD,
            f"the temperature cannot be {temperature:g}",
            span,
            reason="scores are divided by it: it must be above 0",
            fix="write 'temperature = 1'",
        )
        return None
    return TrainSpec(clause.span, clause.method.id, temperature) if good else None
