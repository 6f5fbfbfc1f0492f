"""The scalar operations of the language: one table that the checker, the lowering and the printers all read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Op:
    """A scalar operation; ``spelling`` is how a spec writes it (a function's name, or an operator)."""

    name: str
    arity: int
    spelling: str
    doc: str
    boolean: bool = False


_FUNCTIONS = (
    Op("sigmoid", 1, "sigmoid", "1 / (1 + exp(-x))"),
    Op("tanh", 1, "tanh", "hyperbolic tangent"),
    Op("relu", 1, "relu", "max(x, 0); its derivative at 0 is 0"),
    Op("silu", 1, "silu", "x * sigmoid(x)"),
    Op("softplus", 1, "softplus", "log(1 + exp(x))"),
    Op("exp", 1, "exp", "e to the x"),
    Op("log", 1, "log", "natural logarithm; needs x > 0"),
    Op("sqrt", 1, "sqrt", "square root; needs x >= 0"),
    Op("abs", 1, "abs", "magnitude; its derivative at 0 is 0"),
    Op("min", 2, "min", "the smaller of two; at a tie the first takes the gradient"),
    Op("max", 2, "max", "the larger of two; at a tie the first takes the gradient"),
    Op("clamp", 3, "clamp", "clamp(x, low, high); gradient 1 inside and at the ends"),
    Op("where", 3, "where", "where(condition, a, b)"),
)
_OPERATORS = (
    Op("neg", 1, "-", "negation"),
    Op("add", 2, "+", "sum"),
    Op("sub", 2, "-", "difference"),
    Op("mul", 2, "*", "product"),
    Op("div", 2, "/", "quotient"),
    Op("pow", 2, "^", "power with a constant exponent"),
    Op("lt", 2, "<", "comparison", boolean=True),
    Op("le", 2, "<=", "comparison", boolean=True),
    Op("gt", 2, ">", "comparison", boolean=True),
    Op("ge", 2, ">=", "comparison", boolean=True),
    Op("eq", 2, "==", "comparison", boolean=True),
)

OPS: dict[str, Op] = {op.name: op for op in (*_FUNCTIONS, *_OPERATORS)}
FUNCTIONS: dict[str, Op] = {op.spelling: op for op in _FUNCTIONS}
BINARY: dict[str, Op] = {op.spelling: op for op in _OPERATORS if op.arity == 2}
REDUCTIONS = ("sum", "mean", "max")
STATISTICS = ("var", "mean", "max", "min", "count", "entropy")
LEVELS = {"top_p": "0.9", "above": "0.5"}
"""Row statistics that take a constant beside the row, with an example of it."""
