"""Symbolic differentiation of scalar expressions: one rule per operation, exact in its numbers.

A slope of exactly 0 lets nothing through, also of an inner slope that is infinite or NaN: what is saturated has no
gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from gsa_dsl.ir.nodes import ONE, ZERO, Apply, Const, Input, Scalar, apply
from gsa_dsl.passes.canonicalize import canonicalize
from gsa_dsl.sema.interval import REALS, Interval
from gsa_dsl.sema.ranges import RULES


def derivative(expr: Scalar, name: str) -> Scalar:
    """d expr / d ``name``, canonicalised. At kinks it follows the conventions documented in :mod:`gsa_dsl.ops`."""
    return canonicalize(_derive(expr, name))


def _derive(expr: Scalar, name: str) -> Scalar:
    if isinstance(expr, Input):
        return ONE if expr.name == name else ZERO
    if isinstance(expr, Const):
        return ZERO
    inner = tuple(_derive(arg, name) for arg in expr.args)
    if expr.op in _SELECTING:
        return _SELECTING[expr.op](expr, inner)
    total: Scalar = ZERO
    for partial, d in zip(_PARTIALS[expr.op](expr), inner, strict=True):
        total = apply("add", total, canonicalize(_chained(partial, d)))
    return total


def _chained(partial: Scalar, d: Scalar) -> Scalar:
    """``partial * d``, 0 where ``partial`` is."""
    product = apply("mul", partial, d)
    # 0 * inf is NaN; a number is 0 everywhere or nowhere, and 0 times what is bounded is 0.
    if isinstance(partial, Const) or _range(d).bounded:
        return product
    return apply("where", apply("eq", partial, ZERO), ZERO, product)


def _range(expr: Scalar) -> Interval:
    """What ``expr`` can be, whatever its inputs."""
    if isinstance(expr, Const):
        return Interval.point(expr.value)
    return RULES[expr.op](*map(_range, expr.args)) if isinstance(expr, Apply) else REALS


def _sigmoid(e: Apply) -> tuple[Scalar, ...]:
    return (apply("mul", e, apply("sub", ONE, e)),)


def _silu(e: Apply) -> tuple[Scalar, ...]:
    (x,) = e.args
    gate = apply("sigmoid", x)
    return (apply("mul", gate, apply("add", ONE, apply("mul", x, apply("sub", ONE, gate)))),)


def _abs(e: Apply) -> tuple[Scalar, ...]:
    (x,) = e.args
    negative = apply("where", apply("lt", x, ZERO), Const(-1.0), ZERO)
    return (apply("where", apply("gt", x, ZERO), ONE, negative),)


def _div(e: Apply) -> tuple[Scalar, ...]:
    _, y = e.args
    return apply("div", ONE, y), apply("neg", apply("div", e, y))


def _pow(e: Apply) -> tuple[Scalar, ...]:
    x, c = e.args
    return apply("mul", c, apply("pow", x, apply("sub", c, ONE))), ZERO


# The partial derivative by each argument, given the application itself.
_PARTIALS: dict[str, Callable[[Apply], tuple[Scalar, ...]]] = {
    "sigmoid": _sigmoid,
    "tanh": lambda e: (apply("sub", ONE, apply("mul", e, e)),),
    "relu": lambda e: (apply("where", apply("gt", e.args[0], ZERO), ONE, ZERO),),
    "silu": _silu,
    "softplus": lambda e: (apply("sigmoid", e.args[0]),),
    "exp": lambda e: (e,),
    "log": lambda e: (apply("div", ONE, e.args[0]),),
    "sqrt": lambda e: (apply("div", Const(0.5), e),),
    "abs": _abs,
    "neg": lambda e: (Const(-1.0),),
    "add": lambda e: (ONE, ONE),
    "sub": lambda e: (ONE, Const(-1.0)),
    "mul": lambda e: (e.args[1], e.args[0]),
    "div": _div,
    "pow": _pow,
}


def _clamp(e: Apply, d: tuple[Scalar, ...]) -> Scalar:
    x, low, high = e.args
    above = apply("where", apply("gt", x, high), d[2], d[0])
    return apply("where", apply("lt", x, low), d[1], above)


# Operations that pass one argument on: the derivative passes the same one's derivative on.
_SELECTING: dict[str, Callable[[Apply, tuple[Scalar, ...]], Scalar]] = {
    "min": lambda e, d: apply("where", apply("le", *e.args), d[0], d[1]),
    "max": lambda e, d: apply("where", apply("ge", *e.args), d[0], d[1]),
    "clamp": _clamp,
    "where": lambda e, d: apply("where", e.args[0], d[1], d[2]),
    **{op: (lambda e, d: ZERO) for op in ("lt", "le", "gt", "ge", "eq")},
}

DIFFERENTIABLE = frozenset(_PARTIALS) | frozenset(_SELECTING)
