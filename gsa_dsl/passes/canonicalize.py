"""Constant folding and the algebra that symbolic differentiation needs to stay readable; values never change."""

from __future__ import annotations

import math
from collections.abc import Callable

from gsa_dsl.ir.nodes import ONE, ZERO, Apply, Const, Scalar, apply, rebuild

_FOLD: dict[str, Callable[..., float]] = {
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    "abs": abs,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * _FOLD["sigmoid"](x),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "min": min,
    "max": max,
    "clamp": lambda x, low, high: min(max(x, low), high),
    "lt": lambda x, y: float(x < y),
    "le": lambda x, y: float(x <= y),
    "gt": lambda x, y: float(x > y),
    "ge": lambda x, y: float(x >= y),
    "eq": lambda x, y: float(x == y),
}


def canonicalize(expr: Scalar) -> Scalar:
    """Fold constants, drop neutral elements, spell small integer powers and division by constants as products."""
    return rebuild(expr, lambda leaf: leaf, _simplify)


def scaled(expr: Scalar, factor: float) -> Scalar:
    """``factor * expr`` with the factor moved into sums, to where constants meet; equal but for rounding."""

    def go(node: Scalar) -> Scalar:
        match node:
            case Apply("add" | "sub" as op, (a, b)):
                return apply(op, go(a), go(b))
            case Apply("neg", (x,)):
                return apply("neg", go(x))
        return apply("mul", Const(factor), node)

    return canonicalize(go(expr))


def _simplify(node: Apply) -> Scalar:
    op, args = node.op, node.args
    if op in _FOLD and all(isinstance(arg, Const) for arg in args):
        folded = _fold(op, [arg.value for arg in args if isinstance(arg, Const)])
        if folded is not None:
            return Const(folded)
    match op, args:
        case ("add", (Const(0.0), x)) | ("add", (x, Const(0.0))) | ("sub", (x, Const(0.0))):
            return x
        case ("sub", (Const(0.0), x)):
            return _simplify(apply("neg", x))
        case ("mul", (Const(0.0), _)) | ("mul", (_, Const(0.0))):
            return ZERO
        case ("mul", (Const(1.0), x)) | ("mul", (x, Const(1.0))) | ("div", (x, Const(1.0))):
            return x
        case ("mul", (Const(-1.0), x)) | ("mul", (x, Const(-1.0))):
            return _simplify(apply("neg", x))
        case ("div", (Const(0.0), _)):
            return ZERO
        case ("div", (x, Const(c))) if c != 0.0 and math.isfinite(1.0 / c):
            return _simplify(apply("mul", x, Const(1.0 / c)))
        case ("mul", (Const(a), Apply("mul", (Const(b), x)))) | ("mul", (Apply("mul", (Const(b), x)), Const(a))):
            return _simplify(apply("mul", Const(a * b), x))
        case ("mul", (Apply("mul", (x, Const(b))), Const(a))) | ("mul", (Const(a), Apply("mul", (x, Const(b))))):
            return _simplify(apply("mul", x, Const(a * b)))
        case ("neg", (Apply("neg", (x,)),)):
            return x
        case ("neg", (Const(c),)):
            return Const(-c)
        case ("pow", (_, Const(0.0))):
            return ONE
        case ("pow", (x, Const(c))) if c == int(c) and 1 <= c <= 4:
            power: Scalar = x
            for _ in range(int(c) - 1):
                power = apply("mul", power, x)
            return power
        case ("pow", (x, Const(0.5))):
            return apply("sqrt", x)
        case ("clamp", (Const(c), Const(low), high)):
            return _simplify(apply("min", Const(max(c, low)), high))
        case ("clamp", (Const(c), low, Const(high))):
            return _simplify(apply("max", Const(min(c, high)), low))
        case ("where", (Const(c), a, b)):
            return a if c else b
        case ("where", (_, a, b)) if a == b:
            return a
    return node


def _fold(op: str, values: list[float]) -> float | None:
    """The folded value, or None where the operation is undefined and must stay as the user wrote it."""
    try:
        result = float(_FOLD[op](*values))
    except (ArithmeticError, ValueError):
        return None
    return result if math.isfinite(result) else None
