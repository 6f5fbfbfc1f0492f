"""The budget of a selection: how many keys a query may choose, and the proof that it is a usable number."""

from __future__ import annotations

from collections.abc import Iterator

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema import typed
from gsa_dsl.sema.clauses import Clauses
from gsa_dsl.sema.contexts import budget_context, size_context
from gsa_dsl.sema.granularity import Units
from gsa_dsl.sema.interval import REALS, Interval
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.parts import Params, check_head
from gsa_dsl.sema.sizes import LARGEST
from gsa_dsl.sema.trace import origins
from gsa_dsl.sema.typed import Ema, Forced, IndexerSpec, SelectionSpec, TypedExpr
from gsa_dsl.sema.types import Typer


def selection(
    clauses: Clauses,
    indexer: IndexerSpec | None,
    units: Units,
    forced: Forced | None,
    params: Params,
    mistakes: Mistakes,
) -> tuple[SelectionSpec | None, tuple[Ema, ...]]:
    """The selection and the running means its budget reads, one a slot; ``forced`` is None where it is wrong."""
    emas: list[Ema] = []
    score = REALS if indexer is None else units.scores(indexer.score.range)
    written = None if clauses.budget is None else _written(clauses.budget, score, params, emas, mistakes)
    if clauses.select is None:
        return None, ()
    budget = written if clauses.selects_budget else _count(clauses.select, params, mistakes)
    if budget is None or not (_usable(budget, forced, mistakes) and units.good):
        return None, ()
    adaptive = any(isinstance(node, typed.Statistic | Ema) for node in typed.walk(budget))
    how = (units.block, units.reduce, units.per_kv_head, units.queries)
    return SelectionSpec(clauses.select.span, budget, adaptive, *how), tuple(emas)


def _written(
    clause: ast.Budget, score: Interval, params: Params, emas: list[Ema], mistakes: Mistakes
) -> TypedExpr | None:
    check_head(clause.head, ("t",), "a budget belongs to query t, for all heads", mistakes)
    return Typer(budget_context(params, score), mistakes, emas).number(clause.body)


def _count(clause: ast.Select, params: Params, mistakes: Mistakes) -> TypedExpr | None:
    """The count of ``select top COUNT tokens``, which is constant."""
    varying = next(_varying(clause.count), None)
    if varying is None:
        return Typer(size_context(params, "the number of selected keys"), mistakes).number(clause.count)
    text = mistakes.text(clause.count.span)
    mistakes.add(
        codes.VARYING_COUNT,
        f"'{mistakes.text(varying.span)}' differs from query to query",
        varying.span,
        reason="'select top' takes a constant number of keys, or the budget",
        fix=f"write 'budget[t] = {text}' and 'select top budget tokens'",
    )
    return None


def _varying(expr: ast.Expr) -> Iterator[ast.Expr]:
    """What in ``expr`` is read from a row."""
    match expr:
        case ast.Index():
            yield expr
        case ast.Call(args=args):
            if any(True for arg in args for _ in _varying(arg)):
                yield expr
        case ast.Unary(operand=operand):
            yield from _varying(operand)
        case ast.Binary(left=left, right=right) | ast.Dot(left=left, right=right):
            yield from _varying(left)
            yield from _varying(right)


def _usable(budget: TypedExpr, forced: Forced | None, mistakes: Mistakes) -> bool:
    """Whether the budget is finite, never negative and, without forced keys, able to reach one key."""
    text, interval = mistakes.text(budget.span), budget.range
    if not interval.bounded:
        mistakes.add(
            codes.UNBOUNDED_BUDGET,
            "the budget is not bounded",
            budget.span,
            reason=f"its value lies in {interval}; memory is set aside for the largest budget",
            fix=f"wrap it in clamp: 'clamp({text}, 1, 4096)'",
            labels=tuple(label for label in origins(budget) if label.span != budget.span),
        )
        return False
    if interval.high > LARGEST:
        mistakes.add(
            codes.BAD_SIZE,
            f"a budget cannot be {interval.high:g}",
            budget.span,
            reason="it is at most 2^31 - 1, as positions are 32-bit integers",
            fix=f"write 'min({text}, 4096)'",
        )
        return False
    if interval.low < 0:
        mistakes.add(
            codes.NEGATIVE_BUDGET,
            "the budget may be negative",
            budget.span,
            reason=f"its value lies in {interval}, and no query can choose fewer than 0 keys",
            fix=f"write 'max({text}, 0)'",
        )
        return False
    if interval.high < 1 and forced is not None and forced.first + forced.last == 0:
        mistakes.add(
            codes.EMPTY_BUDGET,
            "no query may choose a single key",
            budget.span,
            reason=f"the budget lies in {interval} and is rounded down, and 'always' forces no key",
            fix="give a budget of at least 1",
        )
        return False
    return True
