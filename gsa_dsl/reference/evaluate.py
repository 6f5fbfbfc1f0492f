"""Typed expressions evaluated with torch: one table of functions, written for meaning and independent of codegen's.

Two rules hold for every expression. NaN propagates: ``max(nan, 0)``, ``relu(nan)`` and ``clamp(nan, 0, 1)`` are NaN. A
zero cotangent stays zero, also where a slope is infinite or NaN: what was masked away has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsa_dsl.sema import typed


def _minimum(a: Tensor, b: Tensor) -> Tensor:
    return torch.where((a <= b) | a.isnan(), a, b)  # torch.minimum would share the gradient at a tie


def _maximum(a: Tensor, b: Tensor) -> Tensor:
    return torch.where((a >= b) | a.isnan(), a, b)


def _clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return _minimum(_maximum(x, low), high)


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": lambda x: x * torch.sigmoid(x),
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "min": _minimum,
    "max": _maximum,
    "clamp": _clamp,
    "where": torch.where,
    "neg": torch.neg,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
}
_COMPARISONS: dict[str, Callable[..., Tensor]] = {
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "eq": torch.eq,
}


class _Elementwise(torch.autograd.Function):
    """``function(*args)`` for tensors of one shape; the gradient is ``cotangent * slope``, 0 where the cotangent is."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *args: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*args)
        return function(*args)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        args = [arg.detach().requires_grad_(need) for arg, need in zip(ctx.saved_tensors, wanted, strict=True)]
        with torch.enable_grad():
            value = ctx.function(*args)
        slopes = iter(torch.autograd.grad(value, [arg for arg in args if arg.requires_grad], torch.ones_like(value)))
        zero = torch.zeros_like(cotangent)
        return None, *(torch.where(cotangent == 0, zero, cotangent * next(slopes)) if need else None for need in wanted)


class _PairwiseDot(torch.autograd.Function):
    """``q [B, J, R, dI]`` against ``k [B, L, dI]``: ``[B, J, R, L]``.

    A non-finite vector makes its products non-finite, and those come back with cotangent 0: it counts as 0 in the
    backward, since 0 * nan would poison the gradient of every vector it met.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
        ctx.save_for_backward(q, k)
        return q @ k.unsqueeze(1).transpose(-1, -2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        q, k = (torch.where(x.isfinite(), x, torch.zeros_like(x)) for x in ctx.saved_tensors)
        return cotangent @ k.unsqueeze(1), (cotangent.transpose(-1, -2) @ q).sum(1)


def pairwise_dot(q: Tensor, k: Tensor) -> Tensor:
    """All inner products of ``q [B, J, R, dI]`` with the shared ``k [B, L, dI]``, as ``[B, J, R, L]``."""
    result: Tensor = _PairwiseDot.apply(q, k)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names of an expression stand for. Tensors broadcast against each other; axis 1 is the indexer's j.

    ``like`` gives dtype and device. ``leaves``: w, b or a gate's. ``dot``: the products q[t, j] . k[s]. ``statistics``
    says what a statistic of a row is. ``ema``: the state vector. ``dimensions``: head_dim, heads, kv_heads,
    group. ``heads``: how many j.
    """

    like: Tensor
    leaves: Mapping[str, Tensor] = field(default_factory=dict)
    dot: Tensor | None = None
    statistics: Callable[[typed.Statistic], Tensor] | None = None
    ema: Tensor | None = None
    dimensions: Mapping[str, int] = field(default_factory=dict)
    heads: int = 1


def evaluate(expr: typed.TypedExpr, scope: Scope) -> Tensor:
    """The value of ``expr`` under ``scope``; differentiable in the leaves and the dot products.

    Raises KeyError or TypeError for a node that the scope has no meaning for.
    """
    match expr:
        case typed.Const():
            return scope.like.new_tensor(float(expr.value), dtype=torch.float64)
        case typed.Dimension():
            return scope.like.new_tensor(float(scope.dimensions[expr.name]), dtype=torch.float64)
        case typed.Leaf():
            return scope.leaves[expr.name]
        case typed.Statistic() if scope.statistics is not None:
            return scope.statistics(expr)
        case typed.Dot() if scope.dot is not None:
            return scope.dot
        case typed.Ema() if scope.ema is not None:
            return scope.ema[expr.slot]
        case typed.Apply():
            return _apply(expr.op, [evaluate(arg, scope) for arg in expr.args], scope.like.dtype)
        case typed.Reduce():
            return _reduce(expr.op, evaluate(expr.body, scope), scope.heads)
    raise TypeError(f"{type(expr).__name__} has no value here")


def _apply(op: str, args: list[Tensor], dtype: torch.dtype) -> Tensor:
    if op in _COMPARISONS:
        return _COMPARISONS[op](*args)
    same_shape = torch.broadcast_tensors(*args)  # type: ignore[no-untyped-call]
    result: Tensor = _Elementwise.apply(_FUNCTIONS[op], *same_shape)  # type: ignore[no-untyped-call]
    return result.to(dtype) if result.ndim else result  # constants stay float64, as Python's numbers would


def _reduce(op: str, body: Tensor, heads: int) -> Tensor:
    """``body`` reduced over axis 1, which is kept with size 1; a body free of j is repeated for each head first."""
    body, _ = torch.broadcast_tensors(body, body.new_empty((1, heads, 1, 1)))  # type: ignore[no-untyped-call]
    if op == "sum":
        return body.sum(1, keepdim=True)
    if op == "mean":
        return body.mean(1, keepdim=True)
    if op == "max":
        first = body.argmax(1, keepdim=True)  # the first of equals; amax would share the gradient among them
        return body.gather(1, first)
    raise KeyError(op)
