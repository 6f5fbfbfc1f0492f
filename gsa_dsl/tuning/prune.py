"""What is left of a space without a GPU: first by estimate, then by compiling each kernel for the target.

Every choice that falls is kept beside the reason, to be shown; the planner's own choice never falls by estimate.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.tuning.estimate import Limits, hopeless, impossible, work
from gsa_dsl.tuning.space import Choice, Group, Space, choice_of, with_choice

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import Plan
    from gsa_dsl.runtime.targets import KernelReport

Slot = tuple[str, Choice]
"""A group by name and the values of the shared fields it depends on: choices are compared within a slot."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A choice that is not tried, and why; ``kind`` sums such reasons up."""

    group: str
    slot: Choice
    choice: Choice
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Survivors:
    """What is left: the choices of each slot, the most promising first."""

    kept: Mapping[Slot, tuple[Choice, ...]]
    dropped: tuple[Dropped, ...]

    @property
    def count(self) -> int:
        return sum(len(choices) for choices in self.kept.values())

    def reasons(self) -> list[tuple[str, str, int]]:
        """(group, kind of reason, how many fell), in the order in which they fell."""
        return [(*why, count) for why, count in Counter((one.group, one.kind) for one in self.dropped).items()]


def by_estimate(space: Space, limits: Limits, *, itemsize: int, overlap: float | None) -> Survivors:
    """Drop what cannot run and what is hopeless; order the rest by its distance from the planner's choice."""
    kept: dict[Slot, tuple[Choice, ...]] = {}
    dropped: list[Dropped] = []
    tiles = dict.fromkeys(value for axis in space.shared if axis.field == "tile" for value in axis.values)
    lost = {tile: hopeless(space, tile, overlap) for tile in tiles if tile != space.base.tile}
    for group in space.groups:
        base = choice_of(space.base, (axis.field for axis in group.axes))
        for slot in space.slots(group):
            left = []
            own = slot == choice_of(space.base, group.shared)
            for choice in space.choices(group):
                why = lost.get(dict(slot).get("tile", -1))
                kind = "too much work"
                if why is None:
                    why = impossible(space, group, slot + choice, itemsize, limits)
                    kind = "too large"
                if why is None or (own and choice == base):
                    left.append(choice)
                else:
                    dropped.append(Dropped(group.name, slot, choice, kind, why))
            kept[group.name, slot] = tuple(sorted(left, key=lambda choice: _distance(group, choice, base)))
    return Survivors(kept, tuple(dropped))


def promising_tiles(space: Space, overlap: float | None) -> list[int]:
    """The tile sizes, the planner's first, then by estimated work."""
    tiles = next(axis for axis in space.shared if axis.field == "tile").values
    return sorted(tiles, key=lambda tile: (tile != space.base.tile, work(space, tile, overlap)))


def _distance(group: Group, choice: Choice, base: Choice) -> int:
    """Steps along the axes from ``base``."""
    axes = {axis.field: axis.values for axis in group.axes}
    pairs = zip(choice, base, strict=True)
    return sum(abs(axes[name].index(value) - axes[name].index(other)) for (name, value), (_, other) in pairs)


Progress = Callable[[int, int], None]


def by_compiling(
    plan: Plan,
    space: Space,
    survivors: Survivors,
    target: str,
    *,
    dtype: str,
    jobs: int,
    seconds: float,
    progress: Progress | None = None,
) -> tuple[Survivors, int]:
    """Compile what is left for ``target`` in ``jobs`` processes; drop what does not compile, fit, or spills.

    Returns the survivors and how many choices were not reached within ``seconds``; those are kept.
    """
    tasks = [
        (group, slot, choice, with_choice(space.base, slot + choice))
        for group in space.groups
        for slot in space.slots(group)
        for choice in survivors.kept[group.name, slot]
    ]
    fallen: dict[tuple[Slot, Choice], tuple[str, str]] = {}
    until, done = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory(prefix="gsa_dsl_tune_") as folder:
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
        try:
            waiting = iter(tasks)
            running = {}
            for group, slot, choice, config in waiting:
                made = replace(plan, config=config)
                future = pool.submit(_compile, made, group.kernels, target, dtype, folder)
                running[future] = ((group.name, slot), choice)
                if len(running) < 2 * jobs:
                    continue
                done += _collect(running, fallen, until)
                if progress is not None:
                    progress(done, len(tasks))
                if time.monotonic() >= until:
                    break
            while running and time.monotonic() < until:
                done += _collect(running, fallen, until)
                if progress is not None:
                    progress(done, len(tasks))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    kept = {
        slot: tuple(choice for choice in choices if (slot, choice) not in fallen)
        for slot, choices in survivors.kept.items()
    }
    dropped = (Dropped(*slot, choice, *why) for (slot, choice), why in fallen.items())
    return Survivors(kept, (*survivors.dropped, *dropped)), len(tasks) - done


def _collect(running: dict, fallen: dict, until: float) -> int:  # type: ignore[type-arg]
    """Take in what is finished, waiting for at least one; returns how many."""
    finished, _ = wait(running, timeout=max(until - time.monotonic(), 0), return_when=FIRST_COMPLETED)
    for future in finished:
        slot_and_choice = running.pop(future)
        why = future.result()
        if why is not None:
            fallen[slot_and_choice] = why
    return len(finished)


def _compile(plan: Plan, kernels: tuple[str, ...], target: str, dtype: str, folder: str) -> tuple[str, str] | None:
    """Why some kernel of this plan cannot be used on ``target``: the kind of reason, and the reason."""
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources, PTXASError

    from gsa_dsl.codegen.emit import emit_triton
    from gsa_dsl.runtime.loader import load_module, write_atomically
    from gsa_dsl.runtime.targets import compile_for

    path = Path(folder) / f"m{abs(hash(plan.config))}.py"
    write_atomically(path, emit_triton(plan))
    try:
        for report in compile_for(load_module(path), target, dtype, kernels=kernels, heaviest=True):
            why = unfit(report)
            if why is not None:
                return why
    except (CompilationError, OutOfResources, PTXASError, RuntimeError) as error:
        return "does not compile", _last_line(error)
    return None


def unfit(report: KernelReport) -> tuple[str, str] | None:
    """The kind of reason and the reason for which a kernel is not worth trying; None if it is."""
    from gsa_dsl.runtime.targets import SHARED_LIMIT

    if not report.fits:
        limit = SHARED_LIMIT[report.target] >> 10
        return "too much shared memory", f"{report.kernel} needs {report.shared >> 10} KiB of {limit}"
    if report.spilled > SPILLS:
        return "spills registers", f"{report.kernel} keeps {report.spilled} bytes a thread in local memory"
    return None


SPILLS = 1024
"""Bytes of local memory a thread from which on a kernel is not tried; a few hundred were seen in the fastest ones."""


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[-1] if lines else type(error).__name__)[:200]
