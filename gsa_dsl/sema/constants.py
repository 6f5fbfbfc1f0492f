"""The value of a constant typed expression, in Python's own numbers: integers stay integers."""

from __future__ import annotations

import math
from collections.abc import Callable

from gsa_dsl.sema import typed
from gsa_dsl.sema.typed import TypedExpr

Number = int | float


def _sigmoid(x: Number) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _power(x: Number, y: Number) -> Number:
    # A large integer power would be computed digit by digit before anyone finds it too large.
    return x**y if abs(y) <= 64 else float(x) ** y


_EVALUATE: dict[str, Callable[..., Number]] = {
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0),
    "silu": lambda x: x * _sigmoid(x),
    "softplus": lambda x: max(x, 0) + math.log1p(math.exp(-abs(x))),
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "abs": abs,
    "min": min,
    "max": max,
    "clamp": lambda x, low, high: min(max(x, low), high),
    "where": lambda condition, a, b: a if condition else b,
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": _power,
    "lt": lambda x, y: int(x < y),
    "le": lambda x, y: int(x <= y),
    "gt": lambda x, y: int(x > y),
    "ge": lambda x, y: int(x >= y),
    "eq": lambda x, y: int(x == y),
}


def constant(expr: TypedExpr) -> Number | None:
    """The value of ``expr`` if nothing in it is read from a tensor, a row or the heads; else None.

    Raises ArithmeticError or ValueError as :func:`apply_constant` does.
    """
    match expr:
        case typed.Const(value=value):
            return value
        case typed.Apply(op=op, args=args):
            values = [constant(arg) for arg in args]
            if any(value is None for value in values):
                return None
            return apply_constant(op, values)
    return None


def apply_constant(op: str, values: list[Number | None]) -> Number:
    """``op`` of numbers. Raises ArithmeticError or ValueError where it is undefined (``1 / 0``) or too large."""
    result = _EVALUATE[op](*values)
    if isinstance(result, complex) or math.isnan(float(result)):
        raise ValueError(f"{op} is undefined there")
    if math.isinf(float(result)) and not any(value is not None and math.isinf(float(value)) for value in values):
        raise OverflowError(f"{op} is too large for a float")
    return result
