"""What a search tells while it runs, and what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import PHASES, Failure, Timing


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search is: configurations tried and failed, and the gain of the best so far over the default."""

    phase: str
    tried: int
    failed: int
    gain: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome. ``default`` and ``best`` are timings at ``length`` (shorter than asked if time was short).

    Without ``default`` the planner's configuration does not run. ``ended`` says why the search was over: 'exhausted'
    (everything was tried), 'budget', or 'interrupted'.
    """

    config: KernelConfig
    default: Timing | None
    best: Timing | None
    length: int
    tried: int
    failed: tuple[tuple[KernelConfig, Failure], ...]
    ended: str

    @property
    def gain(self) -> float:
        """How many times as fast as the default: the geometric mean over the phases; 1 where nothing was measured."""
        return 1.0 if self.default is None or self.best is None else gain(self.default, self.best)


def gain(default: Timing, other: Timing) -> float:
    """Geometric mean over phases of the default's time over the other's."""
    ratios = [default.totals[phase] / max(other.totals[phase], 1e-9) for phase in PHASES if phase in default.totals]
    return math.exp(sum(math.log(max(ratio, 1e-9)) for ratio in ratios) / len(ratios)) if ratios else 1.0


def product(timing: Timing) -> float:
    """Least where the geometric mean of the phases is."""
    return math.prod(timing.totals.values())
