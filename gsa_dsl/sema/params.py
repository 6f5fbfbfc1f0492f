"""The parameters of a spec: their defaults, and the values a caller binds them to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import ast
from gsa_dsl.sema.constants import Number
from gsa_dsl.sema.contexts import size_context
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.names import RESERVED, listed, near
from gsa_dsl.sema.types import Typer

# Stands in for the value of a parameter whose own is wrong, so that its uses are still checked.
_PLACEHOLDER = 1


def bind(tree: ast.Spec, given: Mapping[str, object], mistakes: Mistakes) -> tuple[dict[str, Number], bool]:
    """Every parameter's value, in order of declaration: the caller's, or the default, which may use those before it.

    The second result says whether all values are the real ones: a parameter without one stands as 1.
    """
    known = True
    values: dict[str, Number] = {}
    declared: dict[str, ast.Param] = {}
    for param in tree.params:
        name = param.name.id
        if name in RESERVED:
            mistakes.add(
                codes.RESERVED_NAME,
                f"a parameter cannot be named '{name}'",
                param.name.span,
                reason=RESERVED[name],
                fix=f"call it '{name}_0' or the like",
            )
        if name in declared:
            mistakes.add(
                codes.DUPLICATE_PARAMETER,
                f"parameter '{name}' is declared twice",
                param.name.span,
                fix="leave one of them out",
                labels=(Label(declared[name].name.span, "first declared here"),),
            )
            continue
        declared[name] = param
        default = Typer(size_context(values, "a default"), mistakes).constant(param.default, "a default")
        value = default if name not in given else _value(param, given[name], mistakes)
        known &= value is not None
        values[name] = _PLACEHOLDER if value is None else value
    for name in given:
        if name not in declared:
            has = f"its parameters are {listed(declared, 'and')}" if declared else "it has no parameters"
            mistakes.add(
                codes.UNKNOWN_PARAMETER,
                f"'{tree.name.id}' has no parameter '{name}'",
                tree.name.span,
                reason=has,
                fix=near(name, declared, "leave it out"),
            )
    return values, known


def _value(param: ast.Param, given: object, mistakes: Mistakes) -> Number | None:
    """``given`` as a plain finite number, or None after telling that it is none."""
    name = param.name.id
    if isinstance(given, bool) or not isinstance(given, Real):
        problem = f"a {type(given).__name__}, not a number"
    elif isinstance(given, Integral):
        return int(given)
    elif not math.isfinite(given):
        problem = "not finite"
    else:
        return float(given)
    mistakes.add(
        codes.PARAMETER_VALUE,
        f"parameter '{name}' cannot be {given!r}",
        param.span,
        reason=f"{given!r} is {problem}",
        fix="pass a finite int or float",
    )
    return None
