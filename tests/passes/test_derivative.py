"""Symbolic derivatives against autograd, and the algebra that tidies them up."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsa_dsl.ir.nodes import ONE, ZERO, Apply, Const, Input, Scalar, apply, walk
from gsa_dsl.ops import OPS
from gsa_dsl.passes.canonicalize import canonicalize
from gsa_dsl.passes.derivative import DIFFERENTIABLE, derivative
from tests.passes.expressions import MEANING, NAMES, evaluate, expressions, points

X, Y = Input("x"), Input("y")
SEEDS = st.integers(0, 2**31)


def test_every_operation_has_a_derivative_rule_and_nothing_else_has() -> None:
    assert set(OPS) == DIFFERENTIABLE
    assert set(OPS) == set(MEANING)  # and the tests know what each means


@settings(max_examples=150, deadline=None)
@given(expr=expressions(), seed=SEEDS)
def test_derivatives_are_those_of_autograd(expr: Scalar, seed: int) -> None:
    values = {name: x.requires_grad_() for name, x in points(seed, 8).items()}
    result = evaluate(expr, values)
    smooth = (result.margin > 1e-6) & (result.size < 1e6)
    if not result.value.requires_grad:
        assert all(derivative(expr, name) == ZERO for name in NAMES)
        return
    wanted = torch.autograd.grad(result.value.sum(), list(values.values()), allow_unused=True)
    with torch.no_grad():
        for name, gradient in zip(NAMES, wanted, strict=True):
            got = evaluate(derivative(expr, name), values)
            exact = torch.zeros_like(got.value) if gradient is None else gradient
            error = (got.value - exact).abs()
            assert (error <= 1e-9 * torch.maximum(got.size, exact.abs()))[smooth].all(), name


@pytest.mark.parametrize(
    ("expr", "at", "wanted"),
    [
        (apply("relu", X), 0.0, 0.0),
        (apply("abs", X), 0.0, 0.0),
        (apply("min", X, apply("neg", X)), 0.0, 1.0),  # at a tie the first takes the gradient
        (apply("max", X, apply("neg", X)), 0.0, 1.0),
        (apply("max", apply("neg", X), X), 0.0, -1.0),
        (apply("clamp", X, Const(-1.0), Const(1.0)), 1.0, 1.0),  # gradient 1 at the ends too
        (apply("clamp", X, Const(-1.0), Const(1.0)), -1.0, 1.0),
        (apply("clamp", X, Const(-1.0), Const(1.0)), 1.5, 0.0),
    ],
)
def test_kinks_follow_the_documented_conventions(expr: Apply, at: float, wanted: float) -> None:
    value = evaluate(derivative(expr, "x"), {"x": torch.tensor(at, dtype=torch.float64)}).value
    assert value.item() == wanted


@pytest.mark.parametrize(
    ("expr", "at"),
    [
        (apply("sigmoid", apply("exp", X)), math.inf),
        (apply("tanh", apply("mul", X, X)), math.inf),
        (apply("div", ONE, apply("add", ONE, apply("exp", X))), math.inf),
        (apply("relu", apply("neg", apply("exp", X))), math.inf),
        (apply("exp", apply("div", Const(-1.0), apply("abs", X))), 0.0),
    ],
)
def test_a_slope_of_zero_hides_an_infinite_one(expr: Apply, at: float) -> None:
    value = evaluate(derivative(expr, "x"), {"x": torch.tensor(at, dtype=torch.float64)}).value
    assert value.item() == 0.0


def test_nothing_is_hidden_where_the_inner_slope_is_bounded() -> None:
    term = apply("mul", Y, apply("sigmoid", apply("add", apply("mul", Const(0.5), X), Y)))
    for expr in (term, apply("mul", Y, apply("relu", X)), apply("tanh", apply("tanh", X))):
        for name in NAMES:
            assert not [n for n in walk(derivative(expr, name)) if isinstance(n, Apply) and n.op == "eq"]


@settings(max_examples=150, deadline=None)
@given(expr=expressions(), seed=SEEDS)
def test_canonicalize_keeps_values_and_settles(expr: Scalar, seed: int) -> None:
    tidy = canonicalize(expr)
    before, after = evaluate(expr, points(seed, 8)), evaluate(tidy, points(seed, 8))
    # next to a kink one rounding decides the branch of a comparison
    sure = before.margin > 1e-9
    torch.testing.assert_close(after.value[sure], before.value[sure], rtol=1e-9, atol=1e-9)
    assert canonicalize(tidy) == tidy


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        (apply("add", X, ZERO), X),
        (apply("mul", ZERO, X), ZERO),
        (apply("mul", ONE, X), X),
        (apply("mul", Const(-1.0), X), apply("neg", X)),
        (apply("neg", apply("neg", X)), X),
        (apply("sub", ZERO, X), apply("neg", X)),
        (apply("div", X, Const(4.0)), apply("mul", X, Const(0.25))),
        (apply("mul", Const(2.0), apply("mul", X, Const(3.0))), apply("mul", X, Const(6.0))),
        (apply("pow", X, Const(2.0)), apply("mul", X, X)),
        (apply("pow", X, Const(0.0)), ONE),
        (apply("pow", X, Const(0.5)), apply("sqrt", X)),
        (apply("sqrt", Const(9.0)), Const(3.0)),
        (apply("softplus", ZERO), Const(math.log(2.0))),
        (apply("silu", Const(-1.0)), Const(-1.0 / (1.0 + math.e))),
        (apply("where", apply("lt", ONE, ZERO), X, Y), Y),
        (apply("where", apply("lt", X, ZERO), Y, Y), Y),
        (apply("clamp", Const(4.0), Const(2.0), X), apply("min", Const(4.0), X)),
        (apply("clamp", Const(4.0), X, Const(3.0)), apply("max", Const(3.0), X)),
        (apply("div", X, ZERO), apply("div", X, ZERO)),
        (apply("log", Const(-1.0)), apply("log", Const(-1.0))),  # undefined: stays as the user wrote it
        (apply("exp", Const(1e4)), apply("exp", Const(1e4))),  # out of range: likewise
    ],
)
def test_canonical_forms(expr: Scalar, wanted: Scalar) -> None:
    assert canonicalize(expr) == wanted
