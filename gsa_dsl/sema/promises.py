"""``assert SUBJECT in (low, high)``: proved by the derived range, or refused with where that range comes from."""

from __future__ import annotations

from collections.abc import Mapping

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema.clauses import known_word
from gsa_dsl.sema.contexts import promise_context
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.parts import Params
from gsa_dsl.sema.trace import origins
from gsa_dsl.sema.typed import IndexerSpec, SelectionSpec, TypedExpr
from gsa_dsl.sema.types import Typer


def prove(
    clause: ast.Assert,
    indexer: IndexerSpec | None,
    selection: SelectionSpec | None,
    missing: Mapping[str, bool],
    params: Params,
    mistakes: Mistakes,
) -> None:
    """Prove one assertion. ``missing`` says of each subject whether the spec has none (else it is wrong, and told)."""
    if not known_word(clause.subject, ("score", "budget"), "subject", mistakes):
        return
    subject = clause.subject.id
    known = indexer is not None and indexer.keys != "attention"
    sizes = {"J": indexer.heads, "dI": indexer.dim} if indexer is not None and known else {}
    promised = _interval(clause, params, sizes, mistakes) if indexer is not None or missing["score"] else None
    if missing[subject]:
        what = "an 'indexer'" if subject == "score" else "a 'select'"
        mistakes.add(
            codes.ASSERT_SUBJECT,
            f"there is no {subject} to assert anything about",
            clause.subject.span,
            fix=f"add {what}, or leave the assertion out",
        )
        return
    exprs = {
        "score": None if indexer is None else indexer.score,
        "budget": None if selection is None else selection.budget,
    }
    derived = exprs[subject]
    if promised is not None and derived is not None and not derived.range.inside(promised):
        _refuse(clause, promised, derived, mistakes)


def _interval(clause: ast.Assert, params: Params, sizes: Mapping[str, int], mistakes: Mistakes) -> Interval | None:
    typer = Typer(promise_context(params, sizes), mistakes)
    low, high = (typer.constant(end, "the interval") for end in (clause.low, clause.high))
    if low is None or high is None:
        return None
    if low > high or (low == high and not (clause.low_closed and clause.high_closed)):
        mistakes.add(
            codes.EMPTY_INTERVAL,
            "nothing lies in this interval",
            clause.low.span.to(clause.high.span),
            reason=f"it runs from {low:g} to {high:g}",
            fix="swap the ends" if low > high else "write it with brackets: '[' and ']'",
        )
        return None
    return Interval(float(low), float(high), clause.low_closed, clause.high_closed)


def _refuse(clause: ast.Assert, promised: Interval, derived: TypedExpr, mistakes: Mistakes) -> None:
    subject = clause.subject.id
    fix = f"assert '{subject} in {derived.range}', or bound the {subject} with clamp"
    if not derived.range.bounded:
        fix = f"bound the {subject}, for example with sigmoid or clamp"
    mistakes.add(
        codes.ASSERT_UNPROVED,
        f"the {subject} is not always in {promised}",
        clause.span,
        reason=f"its derived range is {derived.range}",
        fix=fix,
        labels=origins(derived),
    )
