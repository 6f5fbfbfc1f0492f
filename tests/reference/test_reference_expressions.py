"""The reference's own operations: values against math, and the gradient each op has at its kinks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gsa_dsl.diagnostics.span import Span
from gsa_dsl.ops import OPS
from gsa_dsl.reference.evaluate import Scope, evaluate, pairwise_dot
from gsa_dsl.sema.interval import REALS
from gsa_dsl.sema.typed import Apply, Const, Leaf, Reduce, TypedExpr

NOWHERE = Span(0, 0, 1, 1, 1, 1)
NAN, INF = math.nan, math.inf


def leaf(name: str) -> TypedExpr:
    return Leaf(NOWHERE, frozenset(), REALS, name)


def apply(op: str, *args: TypedExpr | float) -> TypedExpr:
    nodes = (Const(NOWHERE, frozenset(), REALS, arg) if isinstance(arg, float) else arg for arg in args)
    return Apply(NOWHERE, frozenset(), REALS, op, tuple(nodes))


def run(expr: TypedExpr, **values: list[float]) -> tuple[list[float], dict[str, list[float]]]:
    """The values of ``expr`` at each entry of the leaves, and its gradients under a cotangent of one."""
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    value = evaluate(expr, Scope(next(iter(leaves.values())), leaves=leaves))
    gradients = torch.autograd.grad(value.sum(), list(leaves.values()))
    return value.tolist(), {name: gradient.tolist() for name, gradient in zip(leaves, gradients, strict=True)}


@pytest.mark.parametrize(
    ("op", "x", "expected", "slope"),
    [
        ("sigmoid", 0.0, 0.5, 0.25),
        ("sigmoid", -800.0, 0.0, 0.0),
        ("tanh", 0.5, math.tanh(0.5), 1 - math.tanh(0.5) ** 2),
        ("relu", 2.0, 2.0, 1.0),
        ("relu", 0.0, 0.0, 0.0),
        ("relu", -1.0, 0.0, 0.0),
        ("silu", 0.0, 0.0, 0.5),
        ("softplus", 0.0, math.log(2), 0.5),
        ("softplus", 900.0, 900.0, 1.0),
        ("exp", 1.0, math.e, math.e),
        ("log", 2.0, math.log(2), 0.5),
        ("sqrt", 4.0, 2.0, 0.25),
        ("abs", -3.0, 3.0, -1.0),
        ("abs", 0.0, 0.0, 0.0),
        ("neg", 3.0, -3.0, -1.0),
    ],
)
def test_function_of_one_argument(op: str, x: float, expected: float, slope: float) -> None:
    value, gradient = run(apply(op, leaf("z")), z=[x])
    assert value == pytest.approx([expected], abs=1e-15)
    assert gradient["z"] == pytest.approx([slope], abs=1e-15)


@pytest.mark.parametrize(
    ("op", "a", "b", "expected", "slopes"),
    [
        ("min", 1.0, 2.0, 1.0, (1.0, 0.0)),
        ("min", 2.0, 2.0, 2.0, (1.0, 0.0)),
        ("max", 1.0, 2.0, 2.0, (0.0, 1.0)),
        ("max", 2.0, 2.0, 2.0, (1.0, 0.0)),
        ("add", 1.0, 2.0, 3.0, (1.0, 1.0)),
        ("sub", 1.0, 2.0, -1.0, (1.0, -1.0)),
        ("mul", 3.0, 2.0, 6.0, (2.0, 3.0)),
        ("div", 3.0, 2.0, 1.5, (0.5, -0.75)),
    ],
)
def test_function_of_two_arguments(op: str, a: float, b: float, expected: float, slopes: tuple[float, float]) -> None:
    value, gradient = run(apply(op, leaf("w"), leaf("b")), w=[a], b=[b])
    assert value == pytest.approx([expected])
    assert (gradient["w"][0], gradient["b"][0]) == pytest.approx(slopes)


def test_clamp_passes_the_gradient_inside_and_at_both_ends() -> None:
    value, gradient = run(apply("clamp", leaf("z"), -1.0, 2.0), z=[-3.0, -1.0, 0.5, 2.0, 7.0])
    assert value == [-1.0, -1.0, 0.5, 2.0, 2.0]
    assert gradient["z"] == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_power_takes_negative_bases_to_whole_exponents() -> None:
    value, gradient = run(apply("pow", leaf("z"), 3.0), z=[-2.0, 0.0])
    assert value == [-8.0, 0.0]
    assert gradient["z"] == [12.0, 0.0]


@pytest.mark.parametrize(
    ("op", "expected"), [("lt", [1, 0, 0]), ("le", [1, 1, 0]), ("gt", [0, 0, 1]), ("ge", [0, 1, 1])]
)
def test_where_takes_the_side_its_comparison_says(op: str, expected: list[float]) -> None:
    value, _ = run(
        apply("where", apply(op, leaf("z"), 1.0), apply("add", 1.0, apply("mul", 0.0, leaf("z"))), 0.0), z=[0, 1, 2]
    )
    assert value == expected


def test_an_unused_branch_gives_no_gradient_even_where_its_slope_is_infinite() -> None:
    safe_log = apply("where", apply("gt", leaf("z"), 0.0), apply("log", leaf("z")), 0.0)
    value, gradient = run(safe_log, z=[0.0, 2.0])
    assert value == pytest.approx([0.0, math.log(2)])
    assert gradient["z"] == [0.0, 0.5]


@pytest.mark.parametrize(
    "op", [("relu",), ("min", 0.0), ("max", 0.0), ("clamp", 0.0, 1.0), ("abs",), ("silu",), ("softplus",)]
)
def test_nan_goes_through_every_comparing_op(op: tuple[str, float]) -> None:
    name, *rest = op
    assert math.isnan(run(apply(name, leaf("z"), *rest), z=[NAN])[0][0])
    if len(rest) == 1:
        assert math.isnan(run(apply(name, apply("add", 0.0, rest[0]), leaf("z")), z=[NAN])[0][0])


def test_every_op_of_the_language_has_a_meaning_here() -> None:
    for op in OPS.values():
        args = [torch.tensor([0.5], dtype=torch.float64)] * op.arity
        if op.name == "where":
            args[0] = torch.tensor([True])
        names = [f"a{i}" for i in range(op.arity)]
        value = evaluate(apply(op.name, *map(leaf, names)), Scope(args[-1], leaves=dict(zip(names, args, strict=True))))
        assert value.shape == (1,)
        assert (value.dtype == torch.bool) == op.boolean


def reduce_over_heads(op: str, w: Tensor) -> Tensor:
    body = leaf("w")
    expr = Reduce(NOWHERE, frozenset(), REALS, op, body)
    return evaluate(expr, Scope(w, leaves={"w": w}, heads=w.shape[1]))


def test_reductions_run_over_the_indexer_heads() -> None:
    w = torch.tensor([1.0, 5.0, 3.0], dtype=torch.float64).view(1, 3, 1, 1)
    assert [reduce_over_heads(op, w).item() for op in ("sum", "mean", "max")] == [9.0, 3.0, 5.0]


def test_the_first_of_equal_heads_takes_the_gradient_of_max() -> None:
    w = torch.tensor([1.0, 5.0, 5.0], dtype=torch.float64).view(1, 3, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(reduce_over_heads("max", w).sum(), w)
    assert gradient.flatten().tolist() == [0.0, 1.0, 0.0]


def test_a_reduction_counts_every_head_of_a_body_without_j() -> None:
    w = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    expr = Reduce(NOWHERE, frozenset(), REALS, "sum", leaf("w"))
    assert evaluate(expr, Scope(w, leaves={"w": w}, heads=4)).item() == 8.0


def test_a_nan_vector_leaves_the_gradients_of_the_others_alone() -> None:
    q = torch.tensor([[[[1.0], [NAN]]]], dtype=torch.float64, requires_grad=True)
    k = torch.tensor([[[3.0], [INF]]], dtype=torch.float64, requires_grad=True)
    dots = pairwise_dot(q, k)
    cotangent = torch.where(dots.isfinite(), 1.0, 0.0).double()
    gradient_q, gradient_k = torch.autograd.grad(dots, [q, k], cotangent)
    assert gradient_q.flatten().tolist() == [3.0, 0.0]
    assert gradient_k.flatten().tolist() == [1.0, 0.0]
