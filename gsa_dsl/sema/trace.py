"""Which part of an expression a derived range comes from, as labels of a diagnostic."""

from __future__ import annotations

from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.sema import typed
from gsa_dsl.sema.constants import constant
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.typed import TypedExpr


def origins(expr: TypedExpr) -> tuple[Label, ...]:
    """Where ``expr`` becomes unbounded; of a bounded one, the parts of its last step that vary."""
    if not expr.range.bounded:
        return (_unbounded(expr),)
    parts = [child for child in typed.children(expr) if constant(child) is None]
    return tuple(_lies(part) for part in parts or [expr])


def _unbounded(expr: TypedExpr) -> Label:
    """The innermost part that is unbounded, or the divisor that may be 0."""
    if isinstance(expr, typed.Apply) and expr.op == "div" and Interval.point(0.0).inside(expr.args[1].range):
        divisor = expr.args[1]
        return Label(divisor.span, f"this divisor lies in {divisor.range}: it may be 0")
    part = next((child for child in typed.children(expr) if not child.range.bounded), None)
    return _lies(expr) if part is None else _unbounded(part)


def _lies(part: TypedExpr) -> Label:
    return Label(part.span, f"this lies in {part.range}")
