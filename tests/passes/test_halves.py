"""A sum of sigmoids as what no key changes and a sum of tanh: equal, and left alone where it would not be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gsa_dsl.ir.nodes import ONE, Apply, Const, Input, Scalar, apply, inputs
from gsa_dsl.ir.plan import ScorePlan
from gsa_dsl.passes.halves import halves
from tests.codegen.generated import plan_of_example
from tests.passes.expressions import evaluate

W, B, DOT = Input("w"), Input("b"), Input("dot")
ARGUMENT = apply("add", apply("mul", DOT, Const(0.125)), B)
SIGMOID = apply("sigmoid", ARGUMENT)
WEIGHT = apply("sigmoid", W)


def score(term: Scalar) -> ScorePlan:
    """The score of an example with another term."""
    plan = plan_of_example("gsa").score
    assert plan is not None
    return replace(plan, reductions=(replace(plan.reductions[0], term=term),))


@pytest.mark.parametrize(
    "term",
    [apply("mul", WEIGHT, SIGMOID), apply("mul", SIGMOID, WEIGHT), apply("mul", apply("neg", W), SIGMOID), SIGMOID],
)
def test_both_halves_add_up_to_the_term(term: Apply) -> None:
    found = halves(score(term))
    assert found is not None
    half, argument = found
    assert "dot" not in inputs(half)
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(64, generator=generator, dtype=torch.float64) * 3 for name in ("w", "b", "dot")}
    want = evaluate(term, values).value
    weight = evaluate(half, values).value
    torch.testing.assert_close(weight + weight * torch.tanh(evaluate(argument, values).value), want)


def test_what_is_no_multiple_of_a_sigmoid_is_left_alone() -> None:
    for term in (
        apply("mul", DOT, SIGMOID),
        apply("relu", DOT),
        apply("add", WEIGHT, SIGMOID),
        apply("mul", apply("tanh", ARGUMENT), W),
    ):
        assert halves(score(term)) is None


def test_a_score_that_is_computed_from_the_sum_is_left_alone() -> None:
    # A sum of tanh may come out a little below 0, where a logarithm is no number.
    plan = score(apply("mul", WEIGHT, SIGMOID))
    assert halves(replace(plan, outer=apply("log", apply("add", ONE, Input("acc0"))))) is None
    assert halves(replace(plan, reductions=(replace(plan.reductions[0], op="max"),))) is None
    assert halves(plan) is not None
