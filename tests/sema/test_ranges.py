"""Interval arithmetic: exact where it can be, never too narrow anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsa_dsl.ops import LEVELS, OPS, STATISTICS
from gsa_dsl.sema import ranges
from gsa_dsl.sema.interval import INF, REALS, Interval
from gsa_dsl.sema.ranges import RULES
from tests.sema.specs import attention, checked, indexer

UNIT = Interval(0.0, 1.0, False, False)
# Enough digits to tell tanh(500) from 1.
mpmath.mp.prec = 2000


def sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-x))


EXACT = {
    "sigmoid": sigmoid,
    "tanh": mpmath.tanh,
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sqrt": mpmath.sqrt,
    "abs": abs,
    "min": min,
    "max": max,
    "clamp": lambda x, low, high: min(max(x, low), high),
    "where": lambda condition, a, b: a if condition else b,
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "lt": lambda x, y: mpmath.mpf(x < y),
    "le": lambda x, y: mpmath.mpf(x <= y),
    "gt": lambda x, y: mpmath.mpf(x > y),
    "ge": lambda x, y: mpmath.mpf(x >= y),
    "eq": lambda x, y: mpmath.mpf(x == y),
}


def test_every_operation_has_a_rule() -> None:
    assert set(RULES) == set(OPS)
    assert set(EXACT) == set(OPS)


@dataclass(frozen=True)
class Sample:
    """An interval and a value in it."""

    range: Interval
    value: mpmath.mpf


def holds(interval: Interval, value: mpmath.mpf) -> bool:
    low = value > interval.low or (interval.low_closed and value == interval.low)
    high = value < interval.high or (interval.high_closed and value == interval.high)
    return bool(low and high)


NUMBERS = st.floats(-40, 40) | st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, -1.2784645427610738])


@st.composite
def leaves(draw: st.DrawFn) -> Sample:
    low, value, high = sorted(draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)))
    ends = Interval(
        draw(st.sampled_from([low, -INF])),
        draw(st.sampled_from([high, INF])),
        draw(st.booleans()) or low == value,
        draw(st.booleans()) or high == value,
    )
    return Sample(ends, mpmath.mpf(value))


def defined(op: str, args: list[Sample]) -> bool:
    """Whether the checker lets the operation through for these ranges and it has a value here."""
    x = args[0]
    match op:
        case "log":
            return x.range.low > 0 or (x.range.low == 0 and not x.range.low_closed)
        case "sqrt":
            return x.range.low >= 0
        case "div":
            return bool(args[1].value != 0)
        case "pow":
            exponent = args[1].range.low
            return args[1].range.is_point and (exponent == int(exponent) or x.range.low >= 0) and bool(x.value != 0)
    return True


def tellable(value: mpmath.mpf) -> bool:
    """Whether `mpmath`'s digits suffice: exp of less than this rounds to 1, which no exact exp does."""
    return bool(value == 0 or mpmath.mpf(2) ** (-mpmath.mp.prec // 2 - 100) < abs(value) < 500)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> Sample:
    """A value computed in exact arithmetic beside the interval derived for it."""
    if depth == 0 or draw(st.booleans()):
        return draw(leaves())
    op = draw(st.sampled_from(sorted(OPS)))
    args = [draw(expressions(depth - 1)) for _ in range(OPS[op].arity)]
    if op == "pow":
        exponent = draw(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 70.0]))
        args[1] = Sample(Interval.point(exponent), mpmath.mpf(exponent))
    if not defined(op, args):
        return args[0]
    value = EXACT[op](*(arg.value for arg in args))
    result = Sample(RULES[op](*(arg.range for arg in args)), mpmath.mpf(value))
    assert holds(result.range, result.value), f"{op} of {[(str(a.range), float(a.value)) for a in args]}"
    return result if tellable(result.value) else args[0]


@settings(max_examples=400, deadline=None)
@given(expressions())
def test_values_stay_in_their_interval(sample: Sample) -> None:
    assert holds(sample.range, sample.value)


def entropy(row: list[mpmath.mpf]) -> mpmath.mpf:
    weights = [mpmath.exp(x - max(row)) for x in row]
    return -mpmath.fsum(w / mpmath.fsum(weights) * mpmath.log(w / mpmath.fsum(weights)) for w in weights if w > 0)


@given(st.lists(NUMBERS, min_size=0, max_size=8), NUMBERS, NUMBERS)
def test_statistics_stay_in_their_interval(values: list[float], a: float, b: float) -> None:
    score = Interval(min(a, b), max(a, b))
    row = [mpmath.mpf(min(max(value, score.low), score.high)) for value in values]
    mean = mpmath.fsum(row) / len(row) if row else mpmath.mpf(0)
    found = {
        "mean": mean,
        "var": mpmath.fsum((x - mean) ** 2 for x in row) / len(row) if row else mpmath.mpf(0),
        "max": max(row, default=mpmath.mpf(0)),
        "min": min(row, default=mpmath.mpf(0)),
        "count": mpmath.mpf(len(row)),
        "entropy": entropy(row),
        "top_p": mpmath.mpf(min(len(row), 1)),
        "above": mpmath.mpf(sum(x > mean for x in row)),
    }
    assert set(found) == {*STATISTICS, *LEVELS}
    for op, value in found.items():
        assert holds(ranges.statistic(op, score), value), op


@pytest.mark.parametrize(
    ("op", "args", "expected"),
    [
        ("sigmoid", [REALS], "(0, 1)"),
        ("tanh", [REALS], "(-1, 1)"),
        ("exp", [Interval(-INF, 0.0)], "(0, 1]"),
        ("relu", [REALS], "[0, inf)"),
        ("softplus", [REALS], "(0, inf)"),
        ("abs", [Interval(-3.0, 2.0, False, True)], "[0, 3)"),
        ("add", [UNIT, Interval.point(1.0)], "(1, 2)"),
        ("sub", [UNIT, UNIT], "(-1, 1)"),
        ("mul", [UNIT, Interval(-2.0, 4.0)], "(-2, 4)"),
        ("mul", [Interval(0.0, 1.0, True, False), REALS], "(-inf, inf)"),
        ("mul", [Interval.point(0.0), REALS], "[0, 0]"),
        ("div", [Interval.point(1.0), Interval(2.0, 4.0, False, True)], "[0.25, 0.5)"),
        ("div", [Interval.point(1.0), UNIT], "(1, inf)"),
        ("div", [UNIT, Interval(0.0, 1.0)], "(-inf, inf)"),
        ("pow", [Interval(-3.0, 2.0), Interval.point(2.0)], "[0, 9]"),
        ("pow", [Interval(-3.0, 2.0), Interval.point(3.0)], "[-27, 8]"),
        ("max", [REALS, Interval.point(1.0)], "[1, inf)"),
        ("min", [UNIT, Interval.point(0.5)], "(0, 0.5]"),
        ("clamp", [REALS, Interval.point(256.0), Interval.point(4096.0)], "[256, 4096]"),
        ("clamp", [Interval(1.0, 9.0), Interval.point(2.0), Interval.point(20.0)], "[2, 9]"),
        ("where", [Interval(0.0, 1.0), UNIT, Interval.point(3.0)], "(0, 3]"),
        ("log", [Interval(0.0, 1.0, False, True)], "(-inf, 0]"),
        ("sqrt", [Interval(0.0, 64.0)], "[0, 8]"),
    ],
)
def test_rule(op: str, args: list[Interval], expected: str) -> None:
    assert str(RULES[op](*args)) == expected


def test_a_sum_over_heads_multiplies_and_a_mean_does_not() -> None:
    assert ranges.reduction("sum", UNIT, Interval.point(4.0)) == Interval(0.0, 4.0, False, False)
    assert ranges.reduction("mean", UNIT, Interval.point(4.0)) == UNIT
    assert ranges.reduction("max", UNIT, Interval.point(4.0)) == UNIT


def test_the_variance_of_a_bounded_score_is_bounded() -> None:
    assert ranges.statistic("var", Interval(0.0, 4.0, False, False)) == Interval(0.0, 4.0, True, False)
    assert ranges.statistic("var", Interval(-1.0, 1.0)) == Interval(0.0, 1.0)
    assert ranges.statistic("var", REALS) == Interval(0.0, INF)


def test_a_row_without_keys_counts_as_zero() -> None:
    assert ranges.statistic("min", Interval(2.0, 4.0)) == Interval(0.0, 4.0)
    assert ranges.statistic("count", UNIT) == Interval(0.0, INF)


def test_a_running_mean_starts_outside_its_body() -> None:
    assert ranges.running_mean(Interval(2.0, 4.0), 1.0) == Interval(1.0, 4.0)


@pytest.mark.parametrize("power", ["{0} * {0}", "{0} ^ 2"])
def test_a_square_is_never_negative(power: str) -> None:
    score = "sum(j) " + power.format("(q[t, j] . k[s])")
    spec = checked(attention(indexer(score), "select top 8 tokens"))
    assert spec.indexer is not None
    assert spec.indexer.score.range == Interval(0.0, INF)


def test_a_product_of_two_different_values_may_be_negative() -> None:
    spec = checked(attention(indexer("sum(j) w[t, j] * (q[t, j] . k[s])"), "select top 8 tokens"))
    assert spec.indexer is not None
    assert spec.indexer.score.range == REALS


def test_ends_are_rounded_outward() -> None:
    third = RULES["div"](Interval.point(1.0), Interval.point(3.0))
    assert mpmath.mpf(third.low) < mpmath.mpf(1) / 3 < mpmath.mpf(third.high)
    assert math.nextafter(third.low, INF) == third.high
