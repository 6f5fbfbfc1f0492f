"""How time grows with the length: a straight line through the times of attention, and the power that fits them best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gsa_dsl.bench.records import PHASES, Case, Record
from gsa_dsl.bench.stages import ATTENTION, stages

FEWEST = 3
"""Lengths that a fit takes: any two lie on a line."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Milliseconds of the stages of attention in one phase over the length, all else equal.

    ``a`` and ``b`` of the least-squares line ``a + b L``, ``b`` in milliseconds a thousand tokens, with its ``r2``; and
    the ``exponent`` of the least-squares power law, a line through the logarithms. ``case``: that of the first length.
    """

    case: Case
    phase: str
    lengths: tuple[int, ...]
    ms: tuple[float, ...]
    a: float
    b: float
    r2: float
    exponent: float


def attention_ms(record: Record, phase: str) -> float | None:
    """The time of the stages in proportion to the pairs attended to; None where kernels were not seen."""
    found = stages(record.kernels.get(phase, {}))
    parts = [found[stage] for stage in ATTENTION if stage in found]
    return sum(parts) if parts else None


def series(records: Sequence[Record]) -> list[list[Record]]:
    """Records that differ in their length alone, by length; in the order in which they first come."""
    found: dict[str, list[Record]] = {}
    for record in records:
        case = record.case
        key = repr((case.spec, sorted(case.params.items()), case.shape, case.overlap))
        found.setdefault(key, []).append(record)
    return [sorted(group, key=lambda record: record.case.length) for group in found.values()]


def fits(records: Sequence[Record]) -> list[Fit]:
    """A fit for every series of at least :data:`FEWEST` lengths with times of kernels, and phase."""
    made = []
    for group in series(records):
        for phase in PHASES:
            points = [(record.case.length, ms) for record in group if (ms := attention_ms(record, phase)) is not None]
            if len(points) >= FEWEST:
                made.append(_fit(group[0].case, phase, points))
    return made


def _fit(case: Case, phase: str, points: list[tuple[int, float]]) -> Fit:
    lengths, ms = zip(*points, strict=True)
    a, b, r2 = line([length / 1000 for length in lengths], ms)
    _, exponent, _ = line([math.log(length) for length in lengths], [math.log(x) for x in ms])
    return Fit(case, phase, lengths, ms, a, b, r2, exponent)


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope and coefficient of determination of the least-squares line; ``x`` must not be all the same."""
    slope, start = statistics.linear_regression(x, y)
    return start, slope, statistics.correlation(x, y) ** 2 if min(y) < max(y) else 1.0
