"""Float arithmetic on interval ends, rounded outward: never inside the true value, and exact where the result is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from fractions import Fraction

INF = math.inf
LARGEST = sys.float_info.max
# The C library's elementary functions err by less than one unit in the last place; our compositions by a few.
_ULPS = 4


def nudge(value: float, direction: float, steps: int = 1) -> float:
    """``value`` moved ``steps`` floats towards ``direction`` (an infinity)."""
    for _ in range(steps):
        value = math.nextafter(value, direction)
    return value


def exactly(value: Fraction, direction: float) -> float:
    """The float nearest to ``value`` that does not lie on its wrong side: at or beyond it in ``direction``."""
    try:
        nearest = float(value)
    except OverflowError:
        big = INF if value > 0 else -INF
        return big if big == direction else math.copysign(LARGEST, big)
    off = value - Fraction(nearest)
    wrong = off > 0 if direction > 0 else off < 0
    return nudge(nearest, direction) if wrong else nearest


def add(a: float, b: float, direction: float) -> float:
    """``a + b``; opposite infinities do not meet at interval ends."""
    if math.isinf(a) or math.isinf(b):
        return a + b
    return exactly(Fraction(a) + Fraction(b), direction)


def multiply(a: float, b: float, direction: float) -> float:
    """``a * b`` with ``0 * inf = 0``: an end of zero is reached whatever the other factor."""
    if a == 0 or b == 0:
        return 0.0
    if math.isinf(a) or math.isinf(b):
        return a * b
    return exactly(Fraction(a) * Fraction(b), direction)


def divide(a: float, b: float, direction: float) -> float:
    """``a / b`` for finite ``a`` and ``b != 0``."""
    return exactly(Fraction(a) / Fraction(b), direction)


def power(base: float, exponent: float, direction: float) -> float:
    """``base ^ exponent`` for an exponent > 0, which is an integer where the base is negative."""
    if base < 0:
        return -power(-base, exponent, -direction) if exponent % 2 else power(-base, exponent, direction)
    if math.isinf(base):
        return INF
    if exponent == int(exponent) and abs(exponent) <= 64:
        return exactly(Fraction(base) ** int(exponent), direction)
    return library(lambda x: x**exponent, base, direction)


def root(x: float, direction: float) -> float:
    """The square root of ``x >= 0``."""
    if math.isinf(x):
        return x
    nearest = math.sqrt(x)
    off = Fraction(x) - Fraction(nearest) ** 2
    wrong = off > 0 if direction > 0 else off < 0
    return nudge(nearest, direction) if wrong else nearest


def library(function: Callable[[float], float], x: float, direction: float) -> float:
    """An increasing elementary function at a finite ``x``, widened by its possible error."""
    try:
        value = function(x)
    except OverflowError:
        return INF if direction > 0 else LARGEST
    return nudge(value, direction, _ULPS)
