"""Further cases by seed, for ``gsa verify --examples``: shapes, patterns, seeds and layouts, the same ones every time.

Drawn without hypothesis, which an installation need not have; failures are made small by ``shrink``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.inputs import PATTERNS

_EDGES = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
_PLAIN = ("normal", "hot_key", "large", "tiny")


@dataclass(frozen=True, slots=True)
class Draw:
    """One drawn set of inputs."""

    batch: int
    length: int
    pattern: str
    seed: int
    strided: bool


def draws(spec: CheckedSpec, count: int, *, seed: int, longest: int) -> Iterator[Draw]:
    """``count`` draws of at most ``longest`` positions; half of the lengths lie at the edges of blocks."""
    chance = random.Random(seed)
    edges = [length for length in _EDGES if length <= longest]
    patterns = patterns_for(spec)
    for _ in range(count):
        length = chance.choice(edges) if chance.random() < 0.5 else chance.randint(1, longest)
        yield Draw(
            chance.randint(1, 3), length, chance.choice(patterns), chance.randrange(2**31), chance.random() < 0.3
        )


def patterns_for(spec: CheckedSpec) -> tuple[str, ...]:
    """The patterns of inputs that make a difference to ``spec``: without an indexer there are no scores to arrange.

    Where the attention's own keys are compared a NaN would poison the attention.
    """
    if spec.indexer is None:
        return tuple(name for name in PATTERNS if name in _PLAIN)
    if spec.indexer.keys == "attention":
        return tuple(name for name in PATTERNS if name not in ("nan", "infinite"))
    return PATTERNS
