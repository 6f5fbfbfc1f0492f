"""What the checker makes of expressions: resolved names, free variables, ranges and slots."""

from __future__ import annotations

import pytest

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.sema import typed
from gsa_dsl.sema.interval import REALS, Interval
from tests.sema.specs import attention, checked, indexer, quoted, refused, with_budget


def nodes(expr: typed.TypedExpr, kind: type[typed.Typed]) -> list[typed.TypedExpr]:
    return [node for node in typed.walk(expr) if isinstance(node, kind)]


def score(text: str) -> typed.TypedExpr:
    spec = checked(attention(indexer(text), "select top 8 tokens"))
    assert spec.indexer is not None
    return spec.indexer.score


def budget(text: str, **params: int) -> typed.TypedExpr:
    spec = checked(with_budget(text), **params)
    assert spec.selection is not None
    return spec.selection.budget


def test_gsa_score() -> None:
    expr = score("sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])")
    assert isinstance(expr, typed.Reduce)
    assert expr.op == "sum"
    assert expr.free == {"t", "s"}
    assert expr.range == Interval(0.0, 4.0, False, False)
    assert expr.body.free == {"t", "s", "j"}
    frees = {node.name: node.free for node in typed.walk(expr) if isinstance(node, typed.Leaf)}
    assert frees == {"w": {"t", "j"}, "b": {"j"}}
    (dimension,) = nodes(expr, typed.Const)
    assert dimension == typed.Const(dimension.span, frozenset(), Interval.point(64.0), 64, "dim")


def test_the_root_of_the_dimension_is_a_point() -> None:
    (root,) = (n for n in typed.walk(score("sum(j) q[t, j] . k[s] / sqrt(dim)")) if getattr(n, "op", "") == "sqrt")
    assert root.range == Interval.point(8.0)


def test_a_dot_product_has_one_order() -> None:
    left, right = score("sum(j) q[t, j] . k[s]"), score("sum(j) k[s] . q[t, j]")
    assert typed.same(left, right)
    (dot,) = nodes(left, typed.Dot)
    assert dot.free == {"t", "s", "j"}
    assert dot.range == REALS


@pytest.mark.parametrize(
    ("text", "tensors"),
    [
        ("sum(j) q[t, j] . k[s]", ("q", "k")),
        ("sum(j) b[j] * w[t, j] * relu(k[s] . q[t, j])", ("q", "k", "w", "b")),
        ("max(j) (q[t, j] . k[s] + b[j])", ("q", "k", "b")),
    ],
)
def test_the_tensors_an_indexer_reads(text: str, tensors: tuple[str, ...]) -> None:
    spec = checked(attention(indexer(text), "select top 8 tokens"))
    assert spec.indexer is not None
    assert spec.indexer.tensors == tensors


def test_heads_and_j_are_the_number_of_heads() -> None:
    expr = score("(sum(j) q[t, j] . k[s]) / heads + J")
    assert [(n.name, n.value) for n in typed.walk(expr) if isinstance(n, typed.Const)] == [("heads", 4), ("J", 4)]


def test_a_parameter_may_share_a_tensors_name() -> None:
    spec = checked(attention(indexer("k * sum(j) q[t, j] . k[s]"), "select top k tokens", params="(k = 16)"))
    assert spec.selection is not None
    assert spec.selection.budget.range == Interval.point(16.0)
    assert spec.selection.most == 16
    assert not spec.selection.adaptive


def test_gate_granularity_decides_what_it_varies_with() -> None:
    spec = checked(
        attention("gate output = sigmoid(linear(x) + 0.5) per element", "gate value = silu(linear(x)) per head")
    )
    assert [gate.body.free for gate in spec.gates] == [{"t", "h", "d"}, {"t", "h"}]
    assert spec.gates[0].body.range == Interval(0.0, 1.0, False, False)


def test_a_second_gate_on_a_target_is_numbered() -> None:
    gate = "gate output = sigmoid(linear(x)) per element"
    spec = checked(attention(gate, "gate value = tanh(linear(x)) per head", gate, gate))
    assert [gate.name for gate in spec.gates] == ["output", "value", "output_2", "output_3"]


def test_scale_sees_the_head_dimension() -> None:
    spec = checked(attention("scale gain / sqrt(head_dim)", params="(gain = 2)"))
    assert spec.scale is not None
    assert spec.scale.range == Interval(0.0, 2.0, False, True)
    assert [n.name for n in typed.walk(spec.scale) if isinstance(n, typed.Dimension)] == ["head_dim"]


def test_statistics_vary_with_the_query_and_running_means_do_not() -> None:
    expr = budget("clamp(k_base * ema(var(score[t])) / var(score[t]), k_min, k_max)")
    statistic, *_ = nodes(expr, typed.Statistic)
    (ema,) = nodes(expr, typed.Ema)
    assert statistic.free == {"t"}
    assert ema.free == frozenset()
    assert expr.free == {"t"}
    assert expr.range == Interval(256.0, 4096.0)


def test_statistics_with_a_constant_keep_it() -> None:
    expr = budget(
        "min(top_p(score[t], 1 / 2) + above(score[t], -k_min) + entropy(score[t]) + top_p(score[t], 1), k_max)"
    )
    assert [(n.op, n.level) for n in nodes(expr, typed.Statistic)] == [
        ("top_p", 0.5),
        ("above", -256.0),
        ("entropy", None),
        ("count", None),
    ]
    assert expr.range == Interval(0.0, 4096.0)


def test_max_and_min_are_statistics_of_a_row_and_functions_of_two() -> None:
    expr = budget("max(min(max(score[t]), min(score[t])), 1)")
    assert [n.op for n in typed.walk(expr) if isinstance(n, typed.Statistic | typed.Apply)] == [
        "max",
        "min",
        "max",
        "min",
    ]


def test_equal_running_means_share_a_slot() -> None:
    spec = checked(
        with_budget(
            "clamp(ema(var(score[t])) + ema(mean(score[t])) + ema(var(score[t]))"
            " + ema(var(score[t]), decay = 0.9) + ema(var(score[t]), init = 0), k_min, k_max)"
        )
    )
    assert spec.selection is not None
    found = [n for n in typed.walk(spec.selection.budget) if isinstance(n, typed.Ema)]
    assert [ema.slot for ema in found] == [0, 1, 0, 2, 3]
    assert [ema.slot for ema in spec.emas] == [0, 1, 2, 3]
    assert [(ema.decay, ema.init) for ema in spec.emas] == [(0.99, 1.0), (0.99, 1.0), (0.9, 1.0), (0.99, 0.0)]


def test_parameters_keep_their_kind() -> None:
    text = attention(params="(a = 2 * 1024, b = a / 2, c = 0.5, e = -a)")
    assert checked(text).params == (("a", 2048), ("b", 1024.0), ("c", 0.5), ("e", -2048))
    bound = dict(checked(text, a=6, c=3).params)
    assert bound == {"a": 6, "b": 3.0, "c": 3, "e": -6}
    assert {name: type(value) for name, value in bound.items()} == {"a": int, "b": float, "c": int, "e": int}


def test_a_mistake_is_told_once_and_the_rest_still_checked() -> None:
    text = attention(indexer("sum(j) rleu(q[t, j] . k[s]) * wt[t, j]"), "select top 8 tokens", "scale hed_dim")
    found = refused(text)
    assert [(d.code, quoted(text, d)) for d in found] == [
        (codes.UNKNOWN_FUNCTION, "rleu"),
        (codes.UNKNOWN_NAME, "wt"),
        (codes.UNKNOWN_NAME, "hed_dim"),
    ]
    assert [d.fix for d in found] == ["did you mean 'relu'?", "did you mean 'w'?", "did you mean 'head_dim'?"]


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ("sum(j) q[t, j]", codes.NOT_A_NUMBER, "q[t, j]"),
        ("sum(j) w[t, j] . k[s]", codes.NOT_A_VECTOR, "w[t, j]"),
        ("sum(j) q[t, j] . 3", codes.NOT_A_VECTOR, "3"),
        ("sum(j) k[s] . k[s]", codes.NOT_A_VECTOR, "k[s] . k[s]"),
        ("sum(j) (q[t, j] . k[s] > 0)", codes.STRAY_COMPARISON, "q[t, j] . k[s] > 0"),
        ("sum(j) where(b[j], q[t, j] . k[s], 0)", codes.NOT_A_CONDITION, "b[j]"),
        ("sum(j) sigmoid(b[j], q[t, j] . k[s])", codes.WRONG_ARITY, "sigmoid(b[j], q[t, j] . k[s])"),
        ("sum(j) clamp(q[t, j] . k[s], 0, 1, x = 2)", codes.BAD_KEYWORD, "x"),
        ("q[t, j] . k[s]", codes.UNBOUND_HEAD, "q[t, j] . k[s]"),
        ("b[j] + sum(j) q[t, j] . k[s]", codes.UNBOUND_HEAD, "b[j]"),
        ("sum(j) b[j]", codes.CONSTANT_SCORE, "sum(j) b[j]"),
        ("sum(j) q[t, j] . k[s] * max(j) b[j]", codes.NESTED, "max"),
        ("(sum(j) q[t, j] . k[s]) + sum(j) dim", codes.IDLE_REDUCTION, "dim"),
        ("sum(j) (q[t, j] . k[s]) ^ b[j]", codes.VARIABLE_EXPONENT, "b[j]"),
        ("sum(j) sqrt(q[t, j] . k[s])", codes.DOMAIN, "q[t, j] . k[s]"),
        ("sum(j) log(relu(q[t, j] . k[s]))", codes.DOMAIN, "relu(q[t, j] . k[s])"),
        ("sum(j) (q[t, j] . k[s]) ^ 0.5", codes.DOMAIN, "q[t, j] . k[s]"),
        ("sum(j) q[t, j] . k[s] / (1 - 1) ^ -1", codes.DOMAIN, "(1 - 1) ^ -1"),
        ("sum(j) q[t, j] . k[s] * 9 ^ 9 ^ 9", codes.DOMAIN, "9 ^ 9 ^ 9"),
        ("sum(j) clamp(q[t, j] . k[s], 2, 1)", codes.CROSSED_CLAMP, "2, 1"),
    ],
)
def test_wrong_scores(body: str, code: str, where: str) -> None:
    text = attention(indexer(body), "select top 8 tokens")
    assert [(d.code, quoted(text, d)) for d in refused(text)] == [(code, where)]


@pytest.mark.parametrize(
    "body",
    [
        "sum(j) sqrt(max(q[t, j] . k[s], 0))",
        "sum(j) log(max(q[t, j] . k[s], 1e-6))",
        "sum(j) max(q[t, j] . k[s], 0) ^ 0.5",
        "sum(j) log(exp(q[t, j] . k[s]))",
        "sum(j) 1 / (q[t, j] . k[s])",
        "sum(j) where(q[t, j] . k[s] > b[j], w[t, j], 0)",
    ],
)
def test_the_fixes_are_accepted(body: str) -> None:
    assert refused(attention(indexer(body), "select top 8 tokens")) == ()


def test_dividing_by_what_may_be_zero_is_anything() -> None:
    assert score("sum(j) 1 / (q[t, j] . k[s])").range == REALS
    assert budget("clamp(1 / var(score[t]), 2, 8)").range == Interval(2.0, 8.0)
