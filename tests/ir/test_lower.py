"""From checked specs to plans: what is merged, what is differentiated, what is bound."""

from __future__ import annotations

import math

import pytest
import torch

from gsa_dsl.frontend.parser import parse
from gsa_dsl.ir.lower import lower
from gsa_dsl.ir.nodes import ONE, Const, Input, Scalar, apply, inputs, rebuild
from gsa_dsl.ir.plan import GateInput, HeadShape, Plan
from gsa_dsl.options import KernelConfig
from gsa_dsl.passes.derivative import derivative
from gsa_dsl.sema.check import check
from gsa_dsl.testing.specs import load_spec
from tests.codegen.generated import EXAMPLES, PARAMS, example, plan_of_example
from tests.passes.expressions import evaluate

SHAPE = HeadShape(8, 2, 64)
DOT, W, B = Input("dot"), Input("w"), Input("b")


def plan_of_text(clauses: str, shape: HeadShape = SHAPE, config: KernelConfig | None = None, **params: float) -> Plan:
    declared = ", ".join(f"{name} = {value}" for name, value in params.items())
    return lower(load_spec(f"attention a({declared}) {{ causal\n{clauses}\n}}"), shape, config)


def scored(score: str, *clauses: str, heads: int = 3) -> Plan:
    indexer = f"indexer {{ heads {heads}  dim 16  keys shared\n score[t, s] = {score}\n }}"
    return plan_of_text("\n".join([indexer, *(clauses or ("select top 5 tokens",))]))


def value(expr: Scalar, **values: float) -> float:
    result = evaluate(expr, {"none": torch.zeros(1), **{name: torch.tensor([x]) for name, x in values.items()}})
    return result.value.item()


def test_equal_reductions_share_one_accumulator() -> None:
    body = "relu(q[t, j] . k[s])"
    plan = scored(f"(sum(j) w[t, j] * {body}) + tanh(sum(j) w[t, j] * {body}) * (max(j) {body})")
    assert plan.score is not None
    assert [reduction.op for reduction in plan.score.reductions] == ["sum", "max"]
    assert plan.score.reductions[0].term == apply("mul", W, apply("relu", DOT))
    assert plan.score.reductions[1].term == apply("relu", DOT)
    acc0, acc1 = Input("acc0"), Input("acc1")
    assert plan.score.outer == apply("add", acc0, apply("mul", apply("tanh", acc0), acc1))
    assert plan.score.outer_partials == (derivative(plan.score.outer, "acc0"), apply("tanh", acc0))


def test_a_mean_is_a_sum_with_a_factor_and_shares_it_with_a_sum() -> None:
    body = "sigmoid(q[t, j] . k[s])"
    plan = scored(f"(mean(j) {body}) + (sum(j) {body})", heads=4)
    assert plan.score is not None
    (reduction,) = plan.score.reductions
    assert reduction.op == "sum"
    assert value(plan.score.outer, acc0=2.0) == 2.0 / 4 + 2.0
    assert value(plan.score.outer_partials[0], acc0=2.0) == 1.25


def test_the_dot_may_be_written_either_way_round() -> None:
    one, other = scored("sum(j) q[t, j] . k[s]"), scored("sum(j) k[s] . q[t, j]")
    assert one.score is not None
    assert other.score is not None
    assert one.score.reductions == other.score.reductions


def test_a_reduction_has_a_partial_for_each_tensor_it_reads_and_no_other() -> None:
    plan = scored("(sum(j) sigmoid(w[t, j]) * (q[t, j] . k[s] + b[j])) + (max(j) q[t, j] . k[s])")
    assert plan.score is not None
    both, dot_only = plan.score.reductions
    assert [name for name, _ in both.partials] == ["dot", "w", "b"]
    assert dict(both.partials)["dot"] == apply("sigmoid", W)
    assert dict(both.partials)["b"] == apply("sigmoid", W)
    assert value(dict(both.partials)["w"], dot=1.0, w=0.0, b=3.0) == pytest.approx(1.0)
    assert dot_only.partials == (("dot", ONE),)
    assert plan.score.tensors == ("q", "k", "w", "b")


def test_names_of_the_indexer_become_numbers() -> None:
    plan = scored("sum(j) q[t, j] . k[s] / sqrt(dim) * J / heads", heads=3)
    assert plan.score is not None
    assert value(plan.score.reductions[0].term, dot=1.0) == pytest.approx(1 / 4)


def test_several_gates_on_one_target_are_one_factor_with_a_partial_for_each_input() -> None:
    plan = plan_of_text(
        """gate output = sigmoid(linear(x)) per element
        gate output = 1 + tanh(linear(x)) per head
        gate value  = relu(linear(x)) per head"""
    )
    gate = plan.output_gate
    assert gate is not None
    assert gate.inputs == (GateInput("output", "element"), GateInput("output_2", "head"))
    z0, z1 = Input("z0"), Input("z1")
    one, other = apply("sigmoid", z0), apply("add", ONE, apply("tanh", z1))
    assert gate.factor == apply("mul", one, other)
    assert len(gate.partials) == 2
    for name, partial in zip(("z0", "z1"), gate.partials, strict=True):
        assert partial == derivative(gate.factor, name)
    assert value(gate.partials[1], z0=0.0, z1=0.0) == 0.5
    assert plan.value_gate is not None
    assert plan.value_gate.inputs == (GateInput("value", "head"),)
    assert plan.value_gate.factor == apply("relu", z0)


@pytest.mark.parametrize(
    ("clause", "wanted"),
    [
        ("", 1 / math.sqrt(64)),
        ("scale 0.3", 0.3),
        ("scale 1 / head_dim", 1 / 64),
        ("scale 2 / sqrt(head_dim)", 2 / 8),
        ("scale max(0.01, 1 / head_dim) ^ 2", 1 / 64**2),
        ("scale s0 * 2", 1.5),
    ],
)
def test_the_scale_is_a_number(clause: str, wanted: float) -> None:
    assert plan_of_text(clause, s0=0.75).scale == wanted


def test_a_budget_reads_the_statistics_it_names_and_those_of_its_running_means() -> None:
    plan = scored(
        "sum(j) q[t, j] . k[s]",
        "budget[t] = clamp(ema(var(score[t]), decay = 0.9, init = 2) / mean(score[t]) + ema(count(score[t])), 1, 9)",
        "select top budget tokens",
    )
    budget = plan.budget
    assert budget is not None
    assert set(budget.statistics) == {"count", "mean", "var"}
    assert set(inputs(budget.expr)) == {"ema0", "row_mean", "ema1"}
    assert budget.emas == (Input("row_var"), Input("row_count"))
    assert budget.ema_decay == (0.9, 0.99)
    assert budget.ema_init == (2.0, 1.0)
    assert budget.most == 9


def test_a_constant_budget_is_a_number_rounded_down() -> None:
    plan = scored("sum(j) q[t, j] . k[s]", "select top 7 / 2 tokens")
    assert plan.budget is not None
    assert plan.budget.expr == Const(3.5)
    assert plan.budget.most == 3
    assert plan.budget.statistics == ()


@pytest.mark.parametrize("name", EXAMPLES)
def test_origins_quote_the_spec(name: str) -> None:
    plan, source = plan_of_example(name), example(name)
    lines = {one.name: one.text.splitlines() for one in (source, source.base) if one is not None}
    parts = (*plan.gates, plan.score, plan.budget)
    origins = [plan.origin, plan.train_origin, plan.forced_origin, *(part.origin for part in parts if part is not None)]
    for origin in filter(None, origins):
        line = lines[origin.file][origin.line - 1]
        assert origin.text
        assert line.split("#")[0].strip() == origin.text
    assert plan.origin.text.startswith(f"attention {name}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_plan_is_a_function_of_its_inputs(name: str) -> None:
    spec = check(parse(example(name)), PARAMS[name])
    assert lower(spec, SHAPE) == lower(spec, SHAPE)
    assert hash(lower(spec, SHAPE)) == hash(lower(spec, SHAPE))
    assert lower(spec, SHAPE) != lower(spec, HeadShape(8, 2, 32))


def test_a_plan_holds_no_operation_on_constants_alone() -> None:
    plan = plan_of_text("gate output = softplus(2) * sigmoid(linear(x)) * clamp(4, 1, 3) per element")
    assert plan.output_gate is not None
    constants: list[float] = []
    rebuild(plan.output_gate.factor, lambda leaf: constants.append(getattr(leaf, "value", 0.0)) or leaf, lambda x: x)
    assert [c for c in constants if c] == [pytest.approx(3 * math.log1p(math.exp(2)))]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("head_dim", [16, 64, 80, 128, 192, 256])
@pytest.mark.parametrize(
    ("heads", "kv_heads"),
    [(1, 1), (4, 4), (6, 1), (8, 2), (12, 4), (16, 1), (32, 1), (64, 4), (64, 1), (128, 1), (96, 1)],
)
def test_default_tiles_fit_the_matrix_units_and_the_mask_word(
    heads: int, kv_heads: int, head_dim: int, listed: bool
) -> None:
    clauses = "indexer { heads 2  dim 16  keys shared\n score[t, s] = sum(j) q[t, j] . k[s] }\nselect top 5 tokens"
    config = plan_of_text(clauses if listed else "", HeadShape(heads, kv_heads, head_dim)).config
    group_pad = 1 << (heads // kv_heads - 1).bit_length()
    assert config.tile * group_pad >= 16  # tl.dot's least number of rows
    assert config.tile <= 32
    assert config.tile & (config.tile - 1) == 0
    for keys in (config.block_keys, config.backward_keys):
        assert keys >= 16
        assert keys & (keys - 1) == 0


def test_a_given_config_is_taken_as_it_is() -> None:
    config = KernelConfig(tile=4, block_keys=128)
    assert plan_of_text("", config=config).config is config


@pytest.mark.parametrize(
    ("clause", "scale"),
    [
        ("logit[t, s] = q[t] . k[s] / sqrt(head_dim)", 1 / 8),
        ("logit[t, s] = k[s] . q[t]", 1.0),
        ("logit[t, s] = 0.5 * (q[t] . k[s]) * heads / kv_heads", 2.0),
        ("logit[t, s] = -(q[t] . k[s])", -1.0),
    ],
)
def test_a_logit_that_is_a_scaled_product_is_a_scale(clause: str, scale: float) -> None:
    plan = plan_of_text(clause)
    assert plan.logit is None
    assert plan.scale == scale


def test_a_logit_linear_in_the_product_keeps_its_scale() -> None:
    plan = plan_of_text("logit[t, s] = q[t] . k[s] / 4 - slope[h] * distance + 2 * bias[h, min(distance, 7)]")
    assert plan.logit is not None
    assert (plan.logit.linear, plan.scale) == (True, 0.25)
    assert plan.logit.reads == ("dot", "distance", "slope", "bias")
    assert plan.logit.partials == (("bias", Const(2.0)),)
    assert plan.logit.bias is not None
    assert plan.logit.bias.size == 8


def test_a_capped_logit_has_a_partial_by_the_product() -> None:
    plan = plan_of_text("logit[t, s] = 30 * tanh(q[t] . k[s] / 8 / 30)")
    assert plan.logit is not None
    assert not plan.logit.linear
    ((name, partial),) = plan.logit.partials
    assert name == "dot"
    assert partial == derivative(plan.logit.value, "dot")
    assert value(partial, dot=100.0) == pytest.approx((1 - math.tanh(100 / 240) ** 2) / 8)


@pytest.mark.parametrize(
    "expr",
    [
        "30 * tanh(q[t] . k[s] / 8 / 30) - slope[h] * distance",
        "-(q[t] . k[s] * 0.5 - min(distance, 4))",
        "where(distance < 3, q[t] . k[s], 0.5) / 3",
    ],
)
def test_in_base_2_a_logit_is_times_log2_of_e(expr: str) -> None:
    plan = plan_of_text(f"logit[t, s] = {expr}")
    assert plan.logit is not None
    given = {"dot": 3.5, "distance": 2.0, "slope": 0.25}
    assert value(plan.logit.base2, **given) == pytest.approx(value(plan.logit.value, **given) / math.log(2))
