"""Where a gate is exactly 1: the bias that makes it start as the identity."""

from __future__ import annotations

from gsa_dsl.sema import ranges, typed
from gsa_dsl.sema.constants import Number, apply_constant
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.typed import TypedExpr

FURTHEST = 16
"""The largest bias tried: further out a saturating function is 1 only by rounding, and has no gradient."""

_STEPS = 32
_TOLERANCE = 1e-12


def bias_at_one(body: TypedExpr) -> float | None:
    """The ``linear(x)`` nearest to 0 at which ``body``, which reads nothing else, is 1; None if there is none in reach.

    Found by a change of sign of ``body - 1`` between neighbouring points, then by bisection down to the last bit.
    """
    if not Interval.point(1.0).inside(body.range):
        return None
    for step in range(FURTHEST * _STEPS):
        near, far = step / _STEPS, (step + 1) / _STEPS
        for low, high in ((near, far), (-near, -far)):
            found = _between(body, low, high)
            if found is not None:
                return found
    return None


def identity_fix(body: TypedExpr, text: str) -> str:
    """What to write instead of ``text``: the gate moved or scaled so that it reaches 1."""
    for op, constant, written in (("add", 1, f"1 + {text}"), ("mul", 2, f"2 * {text}")):
        moved = _with_constant(op, constant, body)
        if moved is not None and bias_at_one(moved) is not None:
            return f"write '{written}'"
    return "write '2 * sigmoid(linear(x))'"


def _with_constant(op: str, constant: int, body: TypedExpr) -> TypedExpr | None:
    point = Interval.point(float(constant))
    number = typed.Const(body.span, frozenset(), point, constant)
    return typed.Apply(body.span, body.free, ranges.RULES[op](point, body.range), op, (number, body))


def _between(body: TypedExpr, low: float, high: float) -> float | None:
    """A root of ``body - 1`` from ``low`` to ``high``, ``low`` itself first."""
    at_low, at_high = _excess(body, low), _excess(body, high)
    if at_low == 0:
        return low
    if at_low is None or at_high is None or at_low * at_high > 0:
        return None
    middle = (low + high) / 2
    while middle not in (low, high):
        at_middle = _excess(body, middle)
        if at_middle is None:
            return None
        if at_middle * at_low > 0:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
        middle = (low + high) / 2
    best, off = min(((low, at_low), (high, at_high)), key=lambda pair: abs(pair[1]))
    # Where the expression jumps over 1, the sign changes and no value is near.
    return best if abs(off) <= _TOLERANCE else None


def _excess(body: TypedExpr, z: float) -> Number | None:
    """``body - 1`` at ``linear(x) = z``; None where it is undefined."""
    try:
        return _value(body, z) - 1
    except (ArithmeticError, ValueError):
        return None


def _value(expr: TypedExpr, z: float) -> Number:
    match expr:
        case typed.Const(value=value):
            return value
        case typed.Leaf():
            return z
        case typed.Apply(op=op, args=args):
            return apply_constant(op, [_value(arg, z) for arg in args])
    raise AssertionError(f"a gate holds no {type(expr).__name__}")
