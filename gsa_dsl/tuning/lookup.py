"""The configuration for a call, found while the caller waits: no search, no compiler, a file that is parsed once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.key import ADVISORY, Key
from gsa_dsl.tuning.store import Entry, Store

NEAR = 4
"""A tuned length stands for calls up to this many times shorter or longer, where none is nearer."""
TYPICAL_OVERLAP = 0.9
"""Neighbouring queries of trained models choose mostly alike; a call does not know how much."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A tuned configuration and where it is from, in words."""

    config: KernelConfig
    origin: str
    entry: Entry
    shipped: bool


def lookup(key: Key, store: Store) -> Chosen | None:
    """The best entry for a call with this key, whose overlap is not known: the user's, else one that was shipped.

    Of several lengths the nearest bucket is taken (the longer of two), within a factor of ``NEAR``; of several overlaps
    the one nearest to ``TYPICAL_OVERLAP``. A shipped entry may have been found under another driver, torch or gsa_dsl
    and another patch release of triton.
    """
    near = [one for one in matching(key, store) if _within_reach(one.entry.key.length, key.length)]
    return min(near, key=lambda one: (one.shipped, *_distance(one.entry.key, key)), default=None)


def matching(key: Key, store: Store) -> list[Chosen]:
    """Everything stored that differs from ``key`` in length and overlap alone: the user's, then what was shipped."""
    found = []
    for entries, shipped in ((store.entries(), False), (store.shipped_entries(), True)):
        where = "shipped with gsa_dsl" if shipped else f"from {store.path}"
        for entry in sorted(entries.values(), key=lambda entry: entry.key.length):
            if _fits(entry.key, key, shipped=shipped):
                origin = f"tuned at {entry.key.length} tokens on {entry.key.gpu}, {where}"
                found.append(Chosen(entry.config, origin, entry, shipped))
    return found


def _within_reach(stored: int, wanted: int) -> bool:
    return wanted <= stored * NEAR and stored <= wanted * NEAR


def _fits(stored: Key, wanted: Key, *, shipped: bool) -> bool:
    changed: dict[str, Any] = {"length": wanted.length, "overlap": wanted.overlap}
    if shipped:
        changed |= {name: getattr(wanted, name) for name in ADVISORY}
        if _minor(stored.triton) == _minor(wanted.triton):
            changed["triton"] = wanted.triton
    return replace(stored, **changed) == wanted


def _distance(stored: Key, wanted: Key) -> tuple[float, bool, float]:
    ratio = max(stored.length / wanted.length, wanted.length / stored.length)
    off = 0.0 if stored.overlap is None else abs(stored.overlap - TYPICAL_OVERLAP)
    return ratio, stored.length < wanted.length, off


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
