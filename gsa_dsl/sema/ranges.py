"""Interval arithmetic: one rule for every operation of :data:`gsa_dsl.ops.OPS`, and the rules of row statistics.

A rule maps the intervals of the arguments to one that holds every value the operation can take on them, in exact
arithmetic; ends are rounded outward. Division by an interval that holds 0 gives all the reals: there the IEEE result
may be infinite or NaN, and ``clamp`` of it yields the whole of the clamp's own range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from gsa_dsl.sema import rounding
from gsa_dsl.sema.interval import INF, REALS, Interval

# Where x * sigmoid(x) is smallest, and a float below its value there (-0.27846454276107380...).
_SILU_AT = -1.2784645427610738
_SILU_LEAST = -0.2784645427610739
_BOOLEAN = Interval(0.0, 1.0)

End = tuple[float, bool]
Rule = Callable[..., Interval]


def hull(*intervals: Interval) -> Interval:
    """The smallest interval that holds all of them."""
    return _span(
        [(i.low, i.low_closed) for i in intervals],
        [(i.high, i.high_closed) for i in intervals],
    )


def _span(lows: Iterable[End], highs: Iterable[End]) -> Interval:
    """The interval from the smallest low to the largest high; at a tie the closed end wins."""
    low, low_closed = min(lows, key=lambda end: (end[0], not end[1]))
    high, high_closed = max(highs)
    return Interval(low, high, low_closed, high_closed)


def _holds_zero(x: Interval) -> bool:
    return Interval.point(0.0).inside(x)


# --- arithmetic ------------------------------------------------------------------------------------------------------


def _neg(x: Interval) -> Interval:
    return Interval(-x.high, -x.low, x.high_closed, x.low_closed)


def _add(x: Interval, y: Interval) -> Interval:
    return Interval(
        rounding.add(x.low, y.low, -INF),
        rounding.add(x.high, y.high, INF),
        x.low_closed and y.low_closed,
        x.high_closed and y.high_closed,
    )


def _sub(x: Interval, y: Interval) -> Interval:
    return _add(x, _neg(y))


def _ends(x: Interval) -> tuple[End, End]:
    return (x.low, x.low_closed), (x.high, x.high_closed)


def _mul(x: Interval, y: Interval) -> Interval:
    lows: list[End] = []
    highs: list[End] = []
    for a, a_closed in _ends(x):
        for b, b_closed in _ends(y):
            # A closed zero is reached together with any value of the other factor.
            closed = (a_closed and b_closed) or (a == 0 and a_closed) or (b == 0 and b_closed)
            lows.append((rounding.multiply(a, b, -INF), closed))
            highs.append((rounding.multiply(a, b, INF), closed))
    return _span(lows, highs)


def _div(x: Interval, y: Interval) -> Interval:
    if _holds_zero(y):
        return REALS
    lows: list[End] = []
    highs: list[End] = []
    positive = y.high > 0
    for a, a_closed in _ends(x):
        for b, b_closed in _ends(y):
            if (a == 0 and b == 0) or (math.isinf(a) and math.isinf(b)):
                continue  # no limit of its own: the other corners enclose the quotients near it
            if b == 0 or math.isinf(a):
                value = INF if (a > 0) == positive else -INF
                lows.append((value, False))
                highs.append((value, False))
            elif math.isinf(b) or a == 0:
                end = (0.0, a_closed and a == 0)
                lows.append(end)
                highs.append(end)
            else:
                lows.append((rounding.divide(a, b, -INF), a_closed and b_closed))
                highs.append((rounding.divide(a, b, INF), a_closed and b_closed))
    return _span(lows, highs)


def _pow(x: Interval, exponent: Interval) -> Interval:
    if not exponent.is_point:
        return REALS
    n = exponent.low
    if n == 0:
        return Interval.point(1.0)
    whole = n == int(n)
    if n < 0:
        return _div(Interval.point(1.0), _pow(x, Interval.point(-n)))
    if whole and n % 2 == 0:
        x = _abs(x)
    elif not whole:
        x = _nonnegative(x)
    return Interval(rounding.power(x.low, n, -INF), rounding.power(x.high, n, INF), x.low_closed, x.high_closed)


def square(x: Interval) -> Interval:
    """The range of ``x * x``, where both factors are the same value."""
    return _pow(x, Interval.point(2.0))


# --- functions -------------------------------------------------------------------------------------------------------


def _nonnegative(x: Interval) -> Interval:
    """The part of ``x`` at or above 0; a point 0 where there is none."""
    return _max(x, Interval.point(0.0))


def _increasing(function: Callable[[float], float], low: float, high: float, *, exact: bool) -> Rule:
    """The rule of an increasing function with open range ``(low, high)``; ``exact``: its float at 0 is its value."""

    def at(x: float, direction: float) -> float:
        return function(x) if exact and x == 0 else rounding.library(function, x, direction)

    def rule(x: Interval) -> Interval:
        below = low if x.low == -INF else max(low, at(x.low, -INF))
        above = high if x.high == INF else min(high, at(x.high, INF))
        return Interval(below, above, x.low_closed and below > low, x.high_closed and above < high)

    return rule


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _relu(x: Interval) -> Interval:
    return _max(x, Interval.point(0.0))


def _silu_at(x: float, direction: float) -> float:
    if x == 0 or math.isinf(x):
        return max(x, 0.0)
    return rounding.nudge(x * _logistic(x), direction, 8)


def _silu(x: Interval) -> Interval:
    lows = [(_silu_at(end, -INF), closed) for end, closed in _ends(x)]
    highs = [(_silu_at(end, INF), closed) for end, closed in _ends(x)]
    if x.low <= _SILU_AT <= x.high:
        lows.append((_SILU_LEAST, True))
    return _span(lows, highs)


def _softplus_at(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _log(x: Interval) -> Interval:
    if x.high <= 0:
        return REALS
    return Interval(_log_at(x.low, -INF), _log_at(x.high, INF), x.low_closed and x.low > 0, x.high_closed)


def _log_at(x: float, direction: float) -> float:
    if x <= 0 or x == INF:
        return x if x == INF else -INF
    return 0.0 if x == 1 else rounding.library(math.log, x, direction)


def _sqrt(x: Interval) -> Interval:
    x = _nonnegative(x)
    return Interval(rounding.root(x.low, -INF), rounding.root(x.high, INF), x.low_closed, x.high_closed)


def _abs(x: Interval) -> Interval:
    if x.low >= 0:
        return x
    if x.high <= 0:
        return _neg(x)
    return Interval(0.0, max(-x.low, x.high), True, max((-x.low, x.low_closed), (x.high, x.high_closed))[1])


def _max(x: Interval, y: Interval) -> Interval:
    low = max(x.low, y.low)
    closed = all(i.low_closed for i in (x, y) if i.low == low)
    high, high_closed = max((x.high, x.high_closed), (y.high, y.high_closed))
    return Interval(low, high, closed, high_closed)


def _min(x: Interval, y: Interval) -> Interval:
    return _neg(_max(_neg(x), _neg(y)))


def _clamp(x: Interval, low: Interval, high: Interval) -> Interval:
    return _min(_max(x, low), high)


def _where(condition: Interval, a: Interval, b: Interval) -> Interval:
    return hull(a, b)


def _comparison(x: Interval, y: Interval) -> Interval:
    return _BOOLEAN


RULES: dict[str, Rule] = {
    "sigmoid": _increasing(_logistic, 0.0, 1.0, exact=True),
    "tanh": _increasing(math.tanh, -1.0, 1.0, exact=True),
    "relu": _relu,
    "silu": _silu,
    "softplus": _increasing(_softplus_at, 0.0, INF, exact=False),
    "exp": _increasing(math.exp, 0.0, INF, exact=True),
    "log": _log,
    "sqrt": _sqrt,
    "abs": _abs,
    "min": _min,
    "max": _max,
    "clamp": _clamp,
    "where": _where,
    "neg": _neg,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "lt": _comparison,
    "le": _comparison,
    "gt": _comparison,
    "ge": _comparison,
    "eq": _comparison,
}


# --- reductions and statistics ---------------------------------------------------------------------------------------


def reduction(op: str, body: Interval, heads: Interval) -> Interval:
    """``op(j)`` of ``heads`` values in ``body``: a sum multiplies the interval, mean and max stay inside it."""
    return _mul(body, heads) if op == "sum" else body


COUNTS = ("count", "entropy", "top_p", "above")
"""Statistics that grow with the keys there are, whatever the scores; the entropy as the logarithm of their number."""


def statistic(op: str, score: Interval) -> Interval:
    """A row statistic of scores in ``score``; a row without a finite score counts as 0."""
    if op in COUNTS:
        return Interval(0.0, INF)
    if op == "var":
        if not score.bounded:
            return Interval(0.0, INF)
        # Popoviciu: the variance of values in an interval is at most a quarter of its squared length.
        length = _sub(score, Interval.point(score.low))
        most = rounding.divide(square(length).high, 4.0, INF)
        return Interval(0.0, most, True, (score.low_closed and score.high_closed) or most == 0)
    return hull(score, Interval.point(0.0))


def running_mean(body: Interval, init: float) -> Interval:
    """``ema(body)``: a convex combination of values of ``body`` and of ``init``."""
    return hull(body, Interval.point(init))
