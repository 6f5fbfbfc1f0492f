"""Whole numbers: how large a size may be, and what is said of one that is none."""

from __future__ import annotations

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema.constants import Number
from gsa_dsl.sema.mistakes import Mistakes

LARGEST = 2**31 - 1


def whole(value: Number | None, expr: ast.Expr, what: str, least: int, mistakes: Mistakes) -> int | None:
    """``value`` of ``expr`` as a whole number from ``least`` to what a 32-bit position holds; None stays None."""
    if value is None:
        return None
    if value == int(value) and least <= value <= LARGEST:
        return int(value)
    mistakes.add(
        codes.BAD_SIZE,
        f"{what} cannot be {value:g}",
        expr.span,
        reason=f"it is a whole number from {least} to 2^31 - 1, as positions are 32-bit integers",
        fix=f"write '{min(max(least, round(value)), LARGEST)}'",
    )
    return None
