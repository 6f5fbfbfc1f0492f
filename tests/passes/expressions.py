"""Random scalar expressions with their values: an evaluator of its own, independent of the printers under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor

from gsa_dsl.ir.nodes import ONE, Apply, Const, Input, Scalar, apply

NAMES = ("x", "y", "z")
MEANING: dict[str, Callable[..., Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "softplus": torch.nn.functional.softplus,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "min": torch.minimum,
    "max": torch.maximum,
    "clamp": lambda x, low, high: torch.minimum(torch.maximum(x, low), high),
    "where": lambda condition, a, b: torch.where(condition != 0, a, b),
    "neg": torch.neg,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "lt": lambda x, y: (x < y).to(x.dtype),
    "le": lambda x, y: (x <= y).to(x.dtype),
    "gt": lambda x, y: (x > y).to(x.dtype),
    "ge": lambda x, y: (x >= y).to(x.dtype),
    "eq": lambda x, y: (x == y).to(x.dtype),
}
COMPARISONS = ("lt", "le", "gt", "ge", "eq")


@dataclass
class Evaluated:
    """A value, how far the nearest kink of the expression was, and the largest magnitude met on the way."""

    value: Tensor
    margin: Tensor
    size: Tensor


def evaluate(expr: Scalar, values: Mapping[str, Tensor]) -> Evaluated:
    """``expr`` at ``values`` (tensors of one shape), elementwise."""
    like = next(iter(values.values()))
    margin = torch.full_like(like, torch.inf)
    size = torch.ones_like(like)

    def near(difference: Tensor) -> None:
        nonlocal margin
        margin = torch.minimum(margin, difference.detach().abs())

    def go(node: Scalar) -> Tensor:
        nonlocal size
        if isinstance(node, Input):
            return values[node.name]
        if isinstance(node, Const):
            return torch.full_like(like, node.value)
        args = [go(arg) for arg in node.args]
        if node.op in ("relu", "abs"):
            near(args[0])
        elif node.op in ("min", "max", *COMPARISONS):
            near(args[0] - args[1])
        elif node.op == "clamp":
            near(args[0] - args[1])
            near(args[0] - args[2])
        result = MEANING[node.op](*args)
        size = torch.maximum(size, result.detach().abs())
        return result

    value = go(expr)
    return Evaluated(value, margin, size)


def _away_from_zero(x: Scalar) -> Apply:
    return apply("add", apply("abs", x), Const(0.5))


@st.composite
def expressions(draw: DrawFn, depth: int = 4) -> Scalar:
    """An expression over :data:`NAMES` that is defined, and of moderate size, wherever its inputs are in [-2, 2]."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        constants = st.sampled_from((0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 0.1, -0.3, 1.7))
        return draw(st.one_of(st.sampled_from(NAMES).map(Input), constants.map(Const)))

    def sub() -> Scalar:
        return draw(expressions(depth=depth - 1))

    op = draw(st.sampled_from(sorted(MEANING.keys() - set(COMPARISONS))))
    match op:
        case "log" | "sqrt":
            return apply(op, _away_from_zero(sub()))
        case "exp":
            return apply(op, apply("clamp", sub(), Const(-3.0), Const(3.0)))
        case "div":
            return apply(op, sub(), draw(st.sampled_from((Const(3.0), _away_from_zero(sub())))))
        case "pow":
            whole = draw(st.booleans())
            power = draw(st.sampled_from((0.0, 1.0, 2.0, 3.0) if whole else (0.5, 1.5, -1.0, -0.7, 2.3)))
            return apply(op, sub() if whole else _away_from_zero(sub()), Const(power))
        case "clamp":
            low = draw(st.sampled_from((Const(-1.0), Const(0.25))))
            return apply(op, sub(), low, draw(st.sampled_from((Const(1.5), apply("add", ONE, apply("abs", sub()))))))
        case "where":
            condition = apply(draw(st.sampled_from(COMPARISONS)), sub(), sub())
            return apply(op, condition, sub(), sub())
        case "neg" | "sigmoid" | "tanh" | "relu" | "silu" | "softplus" | "abs":
            return apply(op, sub())
        case "min" | "max" | "add" | "sub" | "mul":
            return apply(op, sub(), sub())
    raise AssertionError(f"no strategy for {op!r}")


def points(seed: int, count: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """``count`` values in [-2, 2] for each of :data:`NAMES`."""
    generator = torch.Generator().manual_seed(seed)
    return {name: (torch.rand(count, generator=generator, dtype=torch.float64) * 4 - 2).to(dtype) for name in NAMES}
