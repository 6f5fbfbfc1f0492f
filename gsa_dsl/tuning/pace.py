"""How long compiling takes, as seen so far: something for each wave, and more the more of its kernels are new."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class CompilePace:
    """Learned from waves of which each had a share of new kernels (1: all of a configuration's), by least squares.

    Many processes compile a wave: few kernels take as long as the slowest of them, of many each process has several.
    """

    _seen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def known(self) -> bool:
        return bool(self._seen)

    @property
    def least(self) -> float:
        """Seconds that a wave takes however few its kernels are."""
        return self._line()[0]

    def learn(self, share: float, seconds: float, *, waited: bool) -> None:
        """Take in a wave; if nobody ``waited`` for it, it took no longer than ``seconds``."""
        if share > 0 and (waited or not self.known or self.seconds(share) > seconds):
            self._seen.append((share, seconds))

    def seconds(self, share: float) -> float:
        """About how long a wave takes; nothing where nothing is new."""
        least, each = self._line()
        return least + share * each if share > 0 else 0.0

    def _line(self) -> tuple[float, float]:
        if not self._seen:
            return 0.0, 0.0
        shares, seconds = zip(*self._seen, strict=True)
        if len(set(shares)) == 1:
            # One wave does not tell the one from the other.
            half = statistics.fmean(seconds) / 2
            return half, half / shares[0]
        each, least = statistics.linear_regression(shares, seconds)
        if each < 0:
            return statistics.fmean(seconds), 0.0
        if least < 0:
            return 0.0, sum(x * y for x, y in self._seen) / sum(x * x for x in shares)
        return least, each
