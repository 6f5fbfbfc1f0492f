"""What a checked logit knows: its range, what it reads, and the size of its table."""

from __future__ import annotations

import math

import pytest

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.sema.cost import cost
from gsa_dsl.sema.interval import REALS, Interval
from gsa_dsl.sema.typed import LogitSpec
from tests.sema.specs import attention, checked, indexer, refused

PRODUCT = "q[t] . k[s] / sqrt(head_dim)"


def logit(expr: str, *clauses: str) -> LogitSpec:
    found = checked(attention(*clauses, f"logit[t, s] = {expr}")).logit
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        (PRODUCT, REALS),
        (f"30 * tanh({PRODUCT} / 30)", Interval(-30.0, 30.0, False, False)),
        ("-(slope[h] * distance)", Interval(-math.inf, 0.0)),
        ("-(slope[h] * min(distance, 10))", Interval(-10.0, 0.0, False, True)),
        ("1 / (1 + distance)", Interval(0.0, 1.0, False, True)),
        ("bias[h, min(distance, 3)]", REALS),
    ],
)
def test_ranges(expr: str, wanted: Interval) -> None:
    assert logit(expr).body.range == wanted


def test_a_score_brings_its_own_range() -> None:
    soft = logit("log(score[t, s])", indexer(), "select top 8 tokens")
    assert soft.body.range.high == pytest.approx(math.log(4))
    assert not soft.body.range.high_closed
    assert soft.reads == ("score",)
    assert checked(attention(indexer(), "select top 8 tokens", f"logit[t, s] = {PRODUCT} * score[t, s]")).soft
    assert not checked(attention(indexer(), "select top 8 tokens", f"logit[t, s] = {PRODUCT}")).soft


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ("min(distance, 511)", 512),
        ("min(distance, 511.9)", 512),
        ("min(distance, 0)", 1),
        ("32 * tanh(distance / 32)", 32),
        ("32 * sigmoid(distance) - 16", 16),
        ("8 / (1 + distance)", 9),
        ("where(distance < 4, min(distance, 3), 4)", 5),
        ("min(distance, k)", 8),
    ],
)
def test_a_table_is_as_large_as_its_place_can_be(place: str, size: int) -> None:
    spec = checked(attention(f"logit[t, s] = {PRODUCT} + bias[h, {place}]", params="(k = 7)"))
    assert spec.extras(6) == {"bias": (6, size)}


def test_extras_are_the_learned_tensors() -> None:
    assert checked(attention()).extras(4) == {}
    assert checked(attention("sink")).extras(4) == {"sink": (4,)}
    both = checked(attention("sink", f"logit[t, s] = {PRODUCT} + bias[h, min(distance, 3)]"))
    assert both.extras(4) == {"sink": (4,), "bias": (4, 4)}


def test_the_same_place_may_be_read_twice() -> None:
    table = "bias[h, min(distance, 15)]"
    assert logit(f"{PRODUCT} + {table} * tanh({table})").bias is not None


@pytest.mark.parametrize(
    ("expr", "code"),
    [
        ("heads * slope[h]", codes.CONSTANT_LOGIT),
        ("3", codes.CONSTANT_LOGIT),
        ("q[t, j] . k[s]", codes.SIGNATURE),
        ("q[t] . k[t]", codes.SIGNATURE),
        ("slope[g] * distance", codes.SIGNATURE),
        ("score[t, s]", codes.MISSING_INDEXER),
        ("max(h) q[t] . k[s]", codes.FOREIGN_REDUCTION),
        ("ema(distance)", codes.NOT_VISIBLE),
        ("bias[h, distance]", codes.UNBOUNDED_TABLE),
        ("bias[h, min(distance, 4) - 1]", codes.UNBOUNDED_TABLE),
        ("bias[h, t]", codes.TABLE_PLACE),
        ("bias[h, min(distance, 4)] + bias[h, min(distance, 5)]", codes.SECOND_TABLE),
        ("log(distance)", codes.DOMAIN),
    ],
)
def test_refusals(expr: str, code: str) -> None:
    assert [mistake.code for mistake in refused(attention(f"logit[t, s] = {expr}"))] == [code]


def test_a_wrong_indexer_is_told_once() -> None:
    text = attention("indexer { heads 4 dim 64 keys shared score[t, s] = w[t, j] }", "select top 8 tokens")
    mistakes = refused(text.replace("}\n", f"}}\nlogit[t, s] = {PRODUCT} + log(score[t, s])\n", 1))
    assert [mistake.code for mistake in mistakes] == [codes.UNBOUND_HEAD]


@pytest.mark.parametrize("name", ["distance", "slope", "bias"])
def test_what_a_logit_reads_is_no_name_for_a_parameter(name: str) -> None:
    (mistake,) = refused(attention(params=f"({name} = 1)"))
    assert mistake.code == codes.RESERVED_NAME


def test_costs_grow_with_what_a_logit_does() -> None:
    def figures(*clauses: str) -> dict[str, float]:
        rows = cost(checked(attention(*clauses))).evaluate(256, 8, 2, 32)
        return {row.construct: row.flops for row in rows}

    pairs = 256 * 257 // 2
    assert "logit" not in figures()
    # A product with a constant, a slope times a distance, a difference: all of them for every head.
    assert figures(f"logit[t, s] = {PRODUCT} - slope[h] * distance")["logit"] == 3 * 8 * pairs
    assert figures("sink")["sink"] == 2 * 8 * 256
    soft = figures(indexer(), "select top 8 tokens", f"logit[t, s] = {PRODUCT} + log(score[t, s])")
    assert soft["logit gradient"] > soft["logit"] > 0
