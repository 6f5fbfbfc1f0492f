"""Intervals of the extended reals with open or closed ends: what a checked expression's value can be."""

from __future__ import annotations

import math
from dataclasses import dataclass

INF = math.inf


@dataclass(frozen=True, slots=True)
class Interval:
    """``low`` .. ``high``; an infinite end is always open. Empty intervals do not exist."""

    low: float
    high: float
    low_closed: bool = True
    high_closed: bool = True

    def __post_init__(self) -> None:
        if self.low == -INF:
            object.__setattr__(self, "low_closed", False)
        if self.high == INF:
            object.__setattr__(self, "high_closed", False)

    @staticmethod
    def point(value: float) -> Interval:
        return Interval(value, value)

    @property
    def is_point(self) -> bool:
        return self.low == self.high

    @property
    def bounded(self) -> bool:
        return self.low > -INF and self.high < INF

    def inside(self, other: Interval) -> bool:
        """Whether every value of this interval lies in ``other``."""
        low = self.low > other.low or (self.low == other.low and (other.low_closed or not self.low_closed))
        high = self.high < other.high or (self.high == other.high and (other.high_closed or not self.high_closed))
        return low and high

    def __str__(self) -> str:
        def number(value: float) -> str:
            if math.isinf(value):
                return "inf" if value > 0 else "-inf"
            return str(int(value)) if value == int(value) else f"{value:g}"

        left = "[" if self.low_closed else "("
        right = "]" if self.high_closed else ")"
        return f"{left}{number(self.low)}, {number(self.high)}{right}"


REALS = Interval(-INF, INF)
POSITIVE = Interval(0.0, INF, low_closed=False)
