"""How fine a choice is: the unit that ``select`` counts, who shares it, and what that asks of the other clauses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import ast
from gsa_dsl.sema import ranges, typed
from gsa_dsl.sema.clauses import Clauses, known_word, repeated
from gsa_dsl.sema.constants import Number
from gsa_dsl.sema.contexts import size_context
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.typed import Forced, LogitSpec
from gsa_dsl.sema.types import Typer

Params = Mapping[str, Number]

UNITS = ("tokens", "blocks")
BLOCK_SCORES = ("max", "mean", "sum")
SHARING = ("kv_head", "queries")
LARGEST = 4096
"""The most positions of a block, and the most queries that share a choice."""


@dataclass(frozen=True, slots=True)
class Units:
    """What a ``select`` says beside its count, as :class:`gsa_dsl.sema.typed.SelectionSpec` has it.

    ``kind`` is the word for the unit. ``good``: nothing in it is wrong; of what is, ordinary values stand in.
    """

    kind: str
    block: int
    reduce: str | None
    per_kv_head: bool
    queries: int
    good: bool

    def scores(self, tokens: Interval) -> Interval:
        """The range of a unit's score, where those of its tokens are in ``tokens``: a sum is of 1 to ``block``."""
        if self.reduce != "sum":
            return tokens
        return ranges.RULES["mul"](tokens, Interval(1.0, float(self.block)))


TOKENS = Units("tokens", 1, None, per_kv_head=False, queries=1, good=True)


def units(clause: ast.Select | None, params: Params, mistakes: Mistakes) -> Units:
    """What ``clause`` chooses, and for whom; single tokens for all where there is none."""
    if clause is None:
        return TOKENS
    before = len(mistakes.found)
    known_word(clause.unit, UNITS, "unit", mistakes)
    block = _sized(clause.unit, clause.size, "64" if clause.unit.id == "blocks" else "", params, mistakes)
    by = [option for option in clause.options if option.joint.id == "by"]
    per = [option for option in clause.options if option.joint.id == "per"]
    repeated("'by'", by, mistakes)
    for option in by:
        known_word(option.choice, BLOCK_SCORES, "score of a block", mistakes)
        _sized(option.choice, option.size, "", params, mistakes)
    for option in per:
        known_word(option.choice, SHARING, "sharing", mistakes)
    for word in SHARING:
        repeated(f"'per {word}'", [option for option in per if option.choice.id == word], mistakes)
    runs = [
        _sized(option.choice, option.size, "128" if option.choice.id == "queries" else "", params, mistakes)
        for option in per
    ]
    return Units(
        kind=clause.unit.id,
        block=block or 1,
        reduce=by[0].choice.id if by else None,
        per_kv_head=any(option.choice.id == "kv_head" for option in per),
        queries=next((run for run in runs if run is not None), 1),
        good=len(mistakes.found) == before,
    )


def _sized(word: ast.Name, size: ast.Expr | None, wanted: str, params: Params, mistakes: Mistakes) -> int | None:
    """The size after ``word``: a power of two where one is ``wanted`` (an example of it), else none."""
    if size is None and wanted:
        mistakes.add(codes.WRONG_ARITY, f"'{word.id}' takes a size", word.span, fix=f"write '{word.id}({wanted})'")
    if size is not None and not wanted and word.id in (*UNITS, *BLOCK_SCORES, *SHARING):
        mistakes.add(codes.WRONG_ARITY, f"'{word.id}' takes no size", size.span, fix=f"write '{word.id}'")
    if size is None or not wanted:
        return None
    what = f"the size of '{word.id}'"
    value = Typer(size_context(params, what), mistakes).constant(size, what)
    if value is None or (value == int(value) and 2 <= value <= LARGEST and int(value).bit_count() == 1):
        return None if value is None else int(value)
    near = min((2**power for power in range(1, LARGEST.bit_length())), key=lambda size: abs(size - value))
    mistakes.add(
        codes.BAD_UNIT,
        f"{what} cannot be {value:g}",
        size.span,
        reason=f"it is a power of two from 2 to {LARGEST}, so that tiles of keys and queries hold whole ones",
        fix=f"write '{word.id}({near})'",
    )
    return None


# --- beside the other clauses ----------------------------------------------------------------------------------------


def setting(clauses: Clauses, name: str) -> ast.Setting | None:
    """The line of the indexer that begins with ``name``."""
    lines = clauses.indexer.settings if clauses.indexer is not None else ()
    return next((line for line in lines if line.key.id == name), None)


def agree(clauses: Clauses, units: Units, forced: Forced | None, logit: LogitSpec | None, mistakes: Mistakes) -> None:
    """Tell where the units, the indexer's keys and the other clauses contradict each other."""
    select = clauses.select
    pool, keys = setting(clauses, "pool"), setting(clauses, "keys")
    if select is not None and units.kind in UNITS:
        _score_of_a_unit(select, units, pool, mistakes)
        _keys_per_kv_head(select, units, keys, mistakes)
    if pool is not None and units.kind == "blocks":
        _own_block(clauses, pool, forced, logit, mistakes)
    if pool is not None and clauses.documents is not None:
        mistakes.add(
            codes.POOLED_DOCUMENTS,
            "pooled keys beside 'documents'",
            pool.span,
            reason="a block may hold positions of two documents, and their pooled key would let one read the other",
            fix="score tokens and write 'by max', or leave 'documents' out",
            labels=(Label(clauses.documents.span, "sequences are packed here"),),
        )
    runs = next((option for option in select.options if option.choice.id == "queries"), None) if select else None
    if runs is not None and clauses.documents is not None:
        mistakes.add(
            codes.SHARED_DOCUMENTS,
            "runs of queries beside 'documents'",
            runs.span,
            reason="a run may hold queries of two documents, and its first query would choose for another document",
            fix="leave 'per queries' out, or 'documents'",
            labels=(Label(clauses.documents.span, "sequences are packed here"),),
        )
    if keys is not None and _word(keys) == "attention":
        _untrained(clauses, logit, mistakes)


def _word(keys: ast.Setting) -> str:
    return keys.value.id if isinstance(keys.value, ast.Name) else ""


def _score_of_a_unit(select: ast.Select, units: Units, pool: ast.Setting | None, mistakes: Mistakes) -> None:
    by = next((option for option in select.options if option.joint.id == "by"), None)
    if pool is not None and units.kind == "tokens":
        mistakes.add(
            codes.POOL_OF_TOKENS,
            "pooled keys, but no blocks to pool",
            pool.span,
            reason="'pool' makes one key of a block's keys, and tokens are selected",
            fix="write 'select top 16 blocks(64)', or leave 'pool' out",
            labels=(Label(select.unit.span, "tokens here"),),
        )
    elif by is not None and (pool is not None or units.kind == "tokens"):
        what = "a token has one score" if units.kind == "tokens" else "a pooled key has one score"
        mistakes.add(
            codes.IDLE_BY,
            f"'by {by.choice.id}' has nothing to reduce",
            by.span,
            reason=f"{what}; 'by' makes one of the scores of a block's tokens",
            fix="leave it out",
            labels=() if pool is None else (Label(pool.span, "keys are pooled here"),),
        )
    elif by is None and pool is None and units.kind == "blocks":
        mistakes.add(
            codes.MISSING_BY,
            "these blocks have no score",
            select.unit.span,
            reason="the indexer scores tokens; a block's score is made of theirs, or is that of its pooled key",
            fix="write 'by max', or 'pool mean' in the indexer",
        )


def _keys_per_kv_head(select: ast.Select, units: Units, keys: ast.Setting | None, mistakes: Mistakes) -> None:
    if keys is None or units.per_kv_head or not (keys.per or _word(keys) == "attention"):
        return
    if any(option.joint.id == "per" and option.choice.id not in SHARING for option in select.options):
        return  # a word that is told already
    mistakes.add(
        codes.UNSHARED_KEYS,
        f"'{mistakes.text(keys.span)}' scores for each kv head, and one choice is made for all",
        keys.span,
        reason="every kv head has scores of its own, so every kv head has to choose",
        fix="add 'per kv_head' to the 'select'",
        labels=(Label(select.span, "one choice for all heads"),),
    )


def _own_block(
    clauses: Clauses, pool: ast.Setting, forced: Forced | None, logit: LogitSpec | None, mistakes: Mistakes
) -> None:
    """Under ``causal`` the pooled key of a query's own block holds keys of later positions, so it has no score."""
    if clauses.causal is None:
        return
    if forced is not None and forced.last == 0:
        mistakes.add(
            codes.OWN_BLOCK,
            "a query cannot attend to its own block",
            pool.span,
            reason="its pooled key holds keys of later positions, so the block has no score and is never chosen",
            fix="add 'always diagonal'",
        )
    if (read := _score_in(logit)) is not None:
        mistakes.add(
            codes.POOLED_LOGIT,
            "the logit reads a score that a query's own block does not have",
            read.span,
            reason="its pooled key holds keys of later positions; a key without a score would not be attended to",
            fix="leave 'pool' out and write 'by max', or train the indexer with kl",
            labels=(Label(pool.span, "keys are pooled here"),),
        )


def _untrained(clauses: Clauses, logit: LogitSpec | None, mistakes: Mistakes) -> None:
    reason = "'keys attention' scores with the attention's own query and key, which no choice trains"
    if clauses.train is not None:
        fix = "leave 'train' out, or give the indexer keys of its own: 'keys per kv_head'"
        mistakes.add(codes.UNTRAINED, "there is nothing to train", clauses.train.span, reason=reason, fix=fix)
    if (read := _score_in(logit)) is not None:
        fix = "leave it out, or give the indexer keys of its own: 'keys per kv_head'"
        mistakes.add(codes.UNTRAINED, "the logit cannot read this score", read.span, reason=reason, fix=fix)


def _score_in(logit: LogitSpec | None) -> typed.TypedExpr | None:
    """Where a logit reads the indexer's score."""
    leaves = (node for node in typed.walk(logit.body) if isinstance(node, typed.Leaf)) if logit is not None else ()
    return next((leaf for leaf in leaves if leaf.name == "score"), None)
