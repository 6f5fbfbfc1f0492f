"""The parts of a checked spec, each built from its clause: scale, logit, forced keys, training."""

from __future__ import annotations

from collections.abc import Mapping

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import ast
from gsa_dsl.sema.clauses import known_word, repeated
from gsa_dsl.sema.constants import Number
from gsa_dsl.sema.contexts import logit_context, scale_context, size_context
from gsa_dsl.sema.granularity import Units
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.keywords import keyword_numbers
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.sizes import whole
from gsa_dsl.sema.typed import Forced, LogitSpec, SinkSpec, TrainSpec, TypedExpr
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


def forced(clause: ast.Always | None, units: Units, params: Params, mistakes: Mistakes) -> Forced | None:
    """The units every query attends to, None if something in it is wrong; ``span`` is None without an ``always``."""
    if clause is None:
        return Forced(0, 0, None)
    before = len(mistakes.found)
    counts: dict[str, int | None] = {}
    given: dict[str, ast.AlwaysItem] = {}
    for item in clause.items:
        if not known_word(item.kind, ("first", "last", "diagonal"), "kind of forced keys", mistakes):
            counts[item.kind.id] = None
            continue
        kind = "first" if item.kind.id == "first" else "last"
        if kind in given:
            _given_again(given[kind], item, mistakes)
            continue
        given[kind] = item
        counts[kind] = 1 if item.count is None else size(item.count, f"'{kind}'", 0, params, mistakes)
        if item.count is None and units.kind == "tokens":
            _no_diagonal(item, mistakes)
    if counts and all(count == 0 for count in counts.values()):
        mistakes.add(
            codes.NOTHING_FORCED,
            "'always' with no key at all",
            clause.span,
            fix="give a count of at least 1, or leave it out",
        )
    if len(mistakes.found) > before:
        return None
    return Forced(counts.get("first") or 0, counts.get("last") or 0, clause.span)


def _given_again(first: ast.AlwaysItem, item: ast.AlwaysItem, mistakes: Mistakes) -> None:
    if first.kind.id == item.kind.id:
        repeated(f"'{item.kind.id}'", (first, item), mistakes)
        return
    mistakes.add(
        codes.DUPLICATE_CLAUSE,
        "'diagonal' beside 'last'",
        item.span,
        reason="'diagonal' is 'last 1', the query's own block",
        fix="leave one of them out",
        labels=(Label(first.span, "first given here"),),
    )


def _no_diagonal(item: ast.AlwaysItem, mistakes: Mistakes) -> None:
    mistakes.add(
        codes.DIAGONAL_OF_TOKENS,
        "'diagonal' without blocks",
        item.span,
        reason="it is the block that the query lies in, and no blocks are selected",
        fix="write 'last 1' for the query's own token",
    )


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
