"""Which part of an expression a derived range comes from."""

from __future__ import annotations

from gsa_dsl.sema import typed
from gsa_dsl.sema.constants import constant
from gsa_dsl.sema.typed import TypedExpr


def unbounded_origin(expr: TypedExpr) -> TypedExpr:
    """The innermost part that is unbounded although, or because nothing in it is."""
    part = next((child for child in typed.children(expr) if not child.range.bounded), None)
    return expr if part is None else unbounded_origin(part)


def origins(expr: TypedExpr) -> tuple[TypedExpr, ...]:
    """The parts that explain the range of ``expr``: where it becomes unbounded, else what varies in its last step."""
    if not expr.range.bounded:
        return (unbounded_origin(expr),)
    parts = tuple(child for child in typed.children(expr) if constant(child) is None)
    return parts or (expr,)
