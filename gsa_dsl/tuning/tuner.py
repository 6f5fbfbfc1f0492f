"""Tuning a spec: what is stored is used, what is missing is searched for, what is found is stored."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.bench import ChildBench, Journal, RememberingBench, parted
from gsa_dsl.tuning.children import GPU_BENCH
from gsa_dsl.tuning.estimate import Limits
from gsa_dsl.tuning.found import Found, Progress
from gsa_dsl.tuning.job import Failure, Job
from gsa_dsl.tuning.key import Key, Machine, key_for, length_bucket, spec_digest
from gsa_dsl.tuning.prune import Survivors, by_estimate, promising_tiles
from gsa_dsl.tuning.search import search
from gsa_dsl.tuning.space import Choice, Space, config_to_json, difference, project, space_of
from gsa_dsl.tuning.store import Entry, Store

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import Plan

BUDGET = 60.0
"""Seconds a spec and length bucket, unless asked otherwise."""
OVERLAP = 0.9
SHORTEST, SHORTENED = 8192, 8
"""A search starts at an eighth of the length, but not below this many tokens."""
RESERVED = 0.03
"""Share of a budget kept for ending children and writing the result."""
SHARED_MEMORY = {"8.0": 163, "8.6": 99, "8.7": 163, "8.9": 99, "9.0": 227, "10.0": 227, "10.3": 227, "12.0": 99}
"""KiB of shared memory a block may use, by compute capability; others are taken to have the most."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be tuned, as given to ``gsa_dsl.compile``; ``dtype`` is 'bfloat16', 'float16' or 'float32'."""

    spec: str
    name: str
    params: Mapping[str, int | float]
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str = "bfloat16"
    backend: str = "triton"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.heads, self.kv_heads, self.head_dim

    @property
    def itemsize(self) -> int:
        return 4 if self.dtype == "float32" else 2

    def plan(self) -> Plan:
        """The plan with the planner's default configuration for the dtype; raises SpecError for a wrong spec."""
        from gsa_dsl.compiler import plan_of
        from gsa_dsl.diagnostics.span import Source
        from gsa_dsl.passes.schedule import config_for

        plan = plan_of(Source(self.name, self.spec), self.params, self.shape)
        return replace(plan, config=config_for(plan, self.itemsize))


@dataclass(frozen=True, slots=True)
class Tuned:
    """The outcome for one length. ``origin`` is 'stored' for a hit, else why the search ended (see :class:`Entry`)."""

    length: int
    entry: Entry | None
    origin: str
    base: KernelConfig
    failures: tuple[tuple[KernelConfig, Failure], ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "length": self.length,
            "origin": self.origin,
            "seconds": round(self.seconds, 3),
            "gain": None if entry is None else entry.gain,
            "change": None if entry is None else difference(entry.config, self.base),
            "base": config_to_json(self.base),
            "entry": None if entry is None else entry.to_json(),
            "failures": [asdict(why) | {"change": difference(config, self.base)} for config, why in self.failures],
        }


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What tuning a spec found, a row a length."""

    name: str
    subject: Subject
    machine: Machine
    rows: tuple[Tuned, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "params": dict(self.subject.params),
            "heads": self.subject.heads,
            "kv_heads": self.subject.kv_heads,
            "head_dim": self.subject.head_dim,
            "dtype": self.subject.dtype,
            "machine": asdict(self.machine),
            "rows": [row.to_json() for row in self.rows],
        }

    def __str__(self) -> str:
        lines = [f"{self.name} on {self.machine.gpu}, {self.subject.dtype}"]
        for row in self.rows:
            if row.entry is None:
                lines.append(f"  {row.length}: nothing could be measured ({row.origin}, {row.seconds:.1f} s)")
                continue
            what = f"{row.entry.gain:.2f} x with {difference(row.entry.config, row.base)}"
            tried = f"{row.entry.tried} tried, {row.entry.failed} failed"
            lines.append(f"  {row.length}: {what} ({row.origin}, {tried}, {row.seconds:.1f} s)")
        return "\n".join(lines)


def tune(
    subject: Subject,
    *,
    lengths: Sequence[int],
    machine: Machine,
    store: Store,
    overlap: float = OVERLAP,
    budget: float = BUDGET,
    again: bool = False,
    progress: Callable[[int, Progress], None] | None = None,
    runner: str = GPU_BENCH,
    checkers: int | None = None,
) -> TuneReport:
    """Find the best configuration for each length bucket that the store does not hold, ``budget`` seconds each.

    ``overlap`` is how alike neighbouring queries choose in the inputs that times are taken on. ``again`` searches also
    where the store has a result. An interruption stores what is known, ends the report there, and the next call goes
    on from it. ``runner`` is what the child processes run, ``checkers`` how many of them compile, check and prove.

    Raises:
        SpecError: the spec is wrong.
        OSError: the store cannot be written.
    """
    begun = time.monotonic()
    plan = subject.plan()
    wanted = overlap if plan.listed else None
    run = _Run(subject, space_of(plan), machine, store, wanted, budget, checkers or default_checkers(), progress)
    rows: list[Tuned] = []
    with tempfile.TemporaryDirectory(prefix="gsa_dsl_tune_") as folder:
        bench = ChildBench(job_of(subject, wanted, folder, machine), run.checkers, runner)
        try:
            for length in lengths:
                rows.append(run.one(length, bench, begun, again=again))
                if rows[-1].origin == "interrupted":
                    break
                begun = time.monotonic()
        finally:
            bench.close()
    return TuneReport(plan.name, subject, machine, tuple(rows))


@dataclass(frozen=True, slots=True)
class _Run:
    """What the searches of one call of :func:`tune` have in common."""

    subject: Subject
    space: Space
    machine: Machine
    store: Store
    overlap: float | None
    budget: float
    checkers: int
    progress: Callable[[int, Progress], None] | None

    def one(self, length: int, bench: ChildBench, begun: float, *, again: bool) -> Tuned:
        """What the store has for a length, else what a search finds within the budget from ``begun`` on and stores."""
        asked, subject = time.monotonic(), self.subject
        digest = spec_digest(subject.spec, subject.params)
        key = key_for(digest, subject.shape, subject.dtype, length, self.overlap, self.machine)
        known = None if again else self.store.get(key)
        if known is not None and known.ended != "interrupted":
            return Tuned(length, known, "stored", self.space.base, (), time.monotonic() - asked)
        journal = Journal(self.store.path.with_name("journal") / f"{key.name}.jsonl")
        found = self._search(length, RememberingBench(bench, journal), begun)
        entry = entry_of(key, found, self.overlap)
        if entry is not None:
            self.store.put([entry])
        if found.ended == "exhausted":
            journal.forget()
        return Tuned(length, entry, found.ended, self.space.base, found.failed, time.monotonic() - begun)

    def _search(self, length: int, bench: RememberingBench, begun: float) -> Found:
        limits = limits_of(self.machine)
        survivors = by_estimate(self.space, limits, itemsize=self.subject.itemsize, overlap=self.overlap)
        told, (wave, abreast) = self.progress, parted(self.checkers)
        return search(
            self.space,
            survivors,
            promising(self.space, survivors, self.overlap),
            bench,
            lengths=rungs(length, surveyed_from(self.space)),
            seconds=self.budget * (1 - RESERVED) - (time.monotonic() - begun),
            clock=time.monotonic,
            wave=wave,
            abreast=abreast,
            progress=None if told is None else lambda at: told(length, at),
        )


def entry_of(key: Key, found: Found, overlap: float | None) -> Entry | None:
    """What is stored of a search; nothing if nothing was measured."""
    if found.best is None:
        return None
    return Entry(
        key=key,
        config=found.config,
        default={} if found.default is None else dict(found.default.totals),
        best=dict(found.best.totals),
        length=found.length,
        overlap=overlap,
        tried=found.tried,
        failed=len(found.failed),
        ended=found.ended,
    )


def promising(space: Space, survivors: Survivors, overlap: float | None) -> list[Choice]:
    """The combinations of shared values that have something to try in every group, the most promising first."""
    order = {tile: place for place, tile in enumerate(promising_tiles(space, overlap))}
    own = {axis.field: getattr(space.base, axis.field) for axis in space.shared}
    left = [
        combination
        for combination in space.combinations()
        if all(survivors.kept[group.name, project(combination, group.shared)] for group in space.groups)
    ]
    return sorted(left, key=lambda one: (dict(one) != own, order[dict(one)["tile"]]))


def limits_of(machine: Machine) -> Limits:
    """What a block of threads may have on a GPU."""
    return Limits(SHARED_MEMORY.get(machine.capability, max(SHARED_MEMORY.values())) << 10)


def rungs(length: int, long_from: int = 0) -> tuple[int, ...]:
    """The lengths to measure at, the real one last; rows beyond ``long_from``, if not 0, are chosen from otherwise.

    The real one is rounded up to a multiple of 16, as all lengths are at which kernels are compiled before.
    """
    length = -(-length // 16) * 16
    shortest = max(SHORTEST, 2 * long_from) if length > long_from else SHORTEST
    short = max(shortest, length_bucket(length) // SHORTENED)
    return (short, length) if short < length else (length,)


def surveyed_from(space: Space) -> int:
    """The length beyond which rows are surveyed, whatever is chosen; 0 where they never are."""
    return max((4 * value for axis in space.whole if axis.field == "sample" for value in axis.values), default=0)


def default_checkers() -> int:
    """How many processes compile or check: a core is left for the parent, one for the child that takes times."""
    return max(1, min(14, cores() - 2))


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def job_of(subject: Subject, overlap: float | None, folder: str, machine: Machine | None = None) -> Job:
    """What the child processes are told; those that compile open the GPU themselves where no ``machine`` says of it."""
    import torch

    interpreted, long_from = subject.backend == "interpret", surveyed_from(space_of(subject.plan()))
    unopened = None if interpreted or torch.version.cuda is None else machine
    return Job(
        spec=subject.spec,
        name=subject.name,
        params=dict(subject.params),
        heads=subject.heads,
        kv_heads=subject.kv_heads,
        head_dim=subject.head_dim,
        dtype=subject.dtype,
        overlap=overlap,
        folder=folder,
        backend=subject.backend,
        capability="" if unopened is None else unopened.capability,
        shared=0 if unopened is None else limits_of(unopened).shared,
        **({"check_length": 24} if interpreted else {"long_length": long_from + 1024 if long_from else 0}),
    )
