"""The search: many choices of all groups at once at a short length, the best again at the real one, then whole calls.

A run of one module times every kernel, so a *slate* (one configuration) tries a new choice in each group. What is known
is kept per group, shared values and choice; the best configuration is put together from the best of each. A slate that
fails because of one kernel is tried again without that kernel's choice, one that fails for no known reason is taken
apart. All phases end in time: a wave is only begun if it will fit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import PHASES, Failure, Outcome, Timing
from gsa_dsl.tuning.prune import Slot, Survivors
from gsa_dsl.tuning.space import Axis, Choice, Group, Space, choice_of, project, value_of, with_choice

TRYING, HALVING = 0.6, 0.8
"""Shares of the budget after which no new choices are tried, and after which the last comparison begins."""
FINALISTS = 3
REPEATS = 3
"""Runs a configuration is timed in, after one that is not counted; fewer where runs are long."""
SETTING_UP = 8
"""Runs that making the inputs at a new length takes as long as."""
MARGIN = 0.01
"""A configuration must be faster by this much, or the planner's own is kept: less is noise."""


class Bench(Protocol):
    """What the search needs of the machine; all times are those of the search's clock."""

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        """Which configurations cannot be used; None for those that can."""

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, until: float, *, kernels: bool
    ) -> list[Outcome]:
        """Times at a length, all of them taken in the same minute."""


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


@dataclass(frozen=True, slots=True)
class Slate:
    """A configuration, and the choices that are new in it."""

    config: KernelConfig
    new: tuple[tuple[Slot, Choice], ...]


@dataclass
class Knowledge:
    """Milliseconds of each choice within its slot; what could not be measured is not in it, and so never chosen."""

    times: dict[Slot, dict[Choice, float]] = field(default_factory=dict)

    def learn(self, space: Space, config: KernelConfig, timing: Timing) -> None:
        """Take in what one run says of every group."""
        for group in space.groups:
            slot = (group.name, choice_of(config, group.shared))
            choice = choice_of(config, (axis.field for axis in group.axes))
            known = self.times.setdefault(slot, {})
            known[choice] = min(timing.of(group.kernels), known.get(choice, math.inf))

    def best(self, slot: Slot, count: int = 1) -> list[Choice]:
        """The fastest choices of a slot."""
        known = self.times.get(slot, {})
        return sorted(known, key=lambda choice: known[choice])[:count]

    def total(self, space: Space, combination: Choice) -> float:
        """The least time of all groups together at these shared values; infinite where a group is unknown."""
        total = 0.0
        for slot in _slots(space, combination):
            best = self.best(slot)
            total += self.times[slot][best[0]] if best else math.inf
        return total

    def assemble(self, space: Space, combination: Choice, place: int = 0) -> KernelConfig | None:
        """The best of each group at these shared values, or the ``place``-th best where there are as many."""
        config = with_choice(space.base, combination)
        for slot in _slots(space, combination):
            best = self.best(slot, place + 1)
            if not best:
                return None
            config = with_choice(config, best[-1])
        return config


def search(
    space: Space,
    survivors: Survivors,
    combinations: Sequence[Choice],
    bench: Bench,
    *,
    lengths: Sequence[int],
    seconds: float,
    clock: Callable[[], float],
    wave: int,
    progress: Callable[[Progress], None] | None = None,
) -> Found:
    """Find the best configuration within ``seconds`` of ``clock``.

    ``combinations`` are the shared values to try, in order; ``lengths`` the lengths to measure at, the real one last;
    ``wave`` how many configurations are checked side by side.
    """
    return _Search(space, survivors, combinations, bench, lengths, seconds, clock, wave, progress).run()


class _Search:
    def __init__(
        self,
        space: Space,
        survivors: Survivors,
        combinations: Sequence[Choice],
        bench: Bench,
        lengths: Sequence[int],
        seconds: float,
        clock: Callable[[], float],
        wave: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.space, self.bench, self.clock, self.wave = space, bench, clock, wave
        self.combinations, self.lengths, self.progress = tuple(combinations), tuple(lengths), progress
        self.queues = {slot: deque(choices) for slot, choices in survivors.kept.items()}
        self.begun, self.seconds = clock(), seconds
        self.known = Knowledge()
        self.good: set[KernelConfig] = set()
        self.failed: dict[KernelConfig, Failure] = {}
        self.tried: set[KernelConfig] = set()
        self.sampled: dict[KernelConfig, Timing] = {}
        self.compared: dict[KernelConfig, Timing] = {}
        self.check_seconds = 0.0  # a wave
        self.run_pace: dict[int, float] = {}  # by length, seconds a run of both phases

    def run(self) -> Found:
        """The phases one after another; an interruption ends them and leaves what is known."""
        try:
            self._try()
            left = any(self.queues.get(slot) for one in self.combinations for slot in _slots(self.space, one))
            self._decide(self._halve())
        except KeyboardInterrupt:
            return self._conclude("interrupted")
        return self._conclude("budget" if left else "exhausted")

    def _try(self) -> None:
        """Waves of slates at the shortest length, until every choice was in one or the time for it is over."""
        length = self.lengths[0]
        again = deque([Slate(self.space.base, tuple(self._own(self.space.base)))])
        slates = self._slates()
        while (room := self._room(length)) > 0:
            batch = [again.popleft() for _ in range(min(len(again), room))]
            batch += islice(slates, room - len(batch))
            if not batch:
                return
            outcomes = self._measure([slate.config for slate in batch], length, REPEATS, self._end_of_trying())
            for slate, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Timing):
                    self.known.learn(self.space, slate.config, outcome)
                    self.sampled[slate.config] = outcome
                elif outcome.kind == "no time":
                    self._put_back(slate)
                else:
                    again.extend(self._without_blamed(slate, outcome))
            self._tell("trying")
            if self._hopeless():
                return

    def _hopeless(self) -> bool:
        """Whether the planner's own configuration fails for a reason that other tile sizes will not change."""
        why = self.failed.get(self.space.base)
        return why is not None and why.kind != "out of resources"

    def _slates(self) -> Iterator[Slate]:
        """Configurations of untried choices, combination after combination, until no queue has any left."""
        found = True
        while found:
            found = False
            for combination in self.combinations:
                new = []
                for slot in _slots(self.space, combination):
                    queue = self.queues.get(slot)
                    if queue:
                        new.append((slot, queue.popleft()))
                if new:
                    found = True
                    yield self._slate(combination, new)

    def _slate(self, combination: Choice, new: Sequence[tuple[Slot, Choice]]) -> Slate:
        """These shared values and choices; in the other groups the best known, else what the planner has."""
        config = with_choice(self.space.base, combination)
        for slot in _slots(self.space, combination):
            for choice in self.known.best(slot):
                config = with_choice(config, choice)
        for _, choice in new:
            config = with_choice(config, choice)
        return Slate(config, tuple(new))

    def _without_blamed(self, slate: Slate, failure: Failure) -> list[Slate]:
        """What is still to be tried of a failed slate, without the choice to blame."""
        combination = choice_of(slate.config, (axis.field for axis in self.space.shared))
        blamed = [
            (slot, choice)
            for slot, choice in slate.new
            if len(slate.new) == 1 or failure.kernel in self._group(slot[0]).kernels
        ]
        if not blamed:
            # Nothing names the culprit: each choice by itself will.
            return [self._slate(combination, [one]) for one in slate.new]
        rest = [one for one in slate.new if one not in blamed]
        return [self._slate(combination, rest)] if rest else []

    def _put_back(self, slate: Slate) -> None:
        for slot, choice in slate.new:
            if slot in self.queues:
                self.queues[slot].appendleft(choice)

    def _halve(self) -> list[KernelConfig]:
        """The best of every group again at the real length, as far as time allows; the configurations to compare."""
        length, until = self.lengths[-1], self.begun + HALVING * self.seconds
        totals = {one: self.known.total(self.space, one) for one in self.combinations}
        ranked = sorted((one for one in totals if math.isfinite(totals[one])), key=lambda one: totals[one])[:FINALISTS]
        again = Knowledge()
        seen: set[KernelConfig | None] = {None}
        for place in range(FINALISTS):
            for combination in ranked:
                config = self.known.assemble(self.space, combination, place)
                if config in seen or config is None:
                    continue
                if self.clock() + self._checking([config]) + self._cost(length, 1, 1) >= until:
                    continue
                seen.add(config)
                repeats = REPEATS if self.clock() + self._cost(length, FINALISTS**2, REPEATS) < until else 1
                (outcome,) = self._measure([config], length, repeats, until)
                if isinstance(outcome, Timing):
                    again.learn(self.space, config, outcome)
                self._tell("halving")
        finals = [again.assemble(self.space, one) or self.known.assemble(self.space, one) for one in ranked]
        return list(dict.fromkeys(config for config in finals if config is not None))

    def _decide(self, finalists: Sequence[KernelConfig]) -> None:
        """Whole calls of the finalists beside the default, interleaved; then what only whole calls decide."""
        self._compare([self.space.base, *finalists])
        winner = self._fastest(self.compared)
        if winner is not None and self.space.whole:
            others = [with_choice(winner, one) for axis in self.space.whole for one in _other_values(axis, winner)]
            self._compare([self.space.base, winner, *others])

    def _compare(self, configs: Sequence[KernelConfig]) -> None:
        """Times of whole calls of as many configurations as fit, the default first; earlier ones are forgotten."""
        length, until = self.lengths[-1], self.begun + self.seconds
        fitting = list(dict.fromkeys(configs))
        while self._checking(fitting) + self._cost(length, len(fitting), 1) > until - self.clock():
            if len(fitting) <= 2:
                return
            fitting.pop()
        self._check(fitting, until)
        good = [config for config in fitting if config in self.good]
        if not good or (self.space.base not in good and self.space.base not in self.failed):
            return
        left = until - self.clock()
        pace = self._cost(length, len(good), 1) / 2
        repeats = 2 * REPEATS if pace <= 0 else max(1, min(2 * REPEATS, int(left / 2 / pace) - 1))
        start = self.clock()
        outcomes = dict(zip(good, self.bench.time(good, length, repeats, until, kernels=False), strict=True))
        self._learn_pace(length, len(good), repeats, start)
        timed = {config: one for config, one in outcomes.items() if isinstance(one, Timing)}
        self.failed |= {c: one for c, one in outcomes.items() if isinstance(one, Failure) and one.kind != "no time"}
        self.tried.update(good)
        if self.space.base in timed or self.space.base in self.failed:
            self.compared = timed
        self._tell("comparing")

    def _conclude(self, ended: str) -> Found:
        """The winner of the last comparison; without one, of the runs that timed single kernels."""
        timed, length = (self.compared, self.lengths[-1]) if self.compared else (self.sampled, self.lengths[0])
        default, winner = timed.get(self.space.base), self._fastest(timed)
        if default is not None and winner is not None and gain(default, timed[winner]) < 1 + MARGIN:
            winner = self.space.base
        config = self.space.base if winner is None else winner
        failed = tuple(self.failed.items())
        return Found(config, default, timed.get(config), length, len(self.tried), failed, ended)

    def _measure(self, configs: Sequence[KernelConfig], length: int, repeats: int, until: float) -> list[Outcome]:
        """Check, then time kernel by kernel."""
        why = dict(zip(configs, self._check(configs, until), strict=True))
        good = [config for config in dict.fromkeys(configs) if why[config] is None]
        start = self.clock()
        timed = (
            dict(zip(good, self.bench.time(good, length, repeats, until, kernels=True), strict=True)) if good else {}
        )
        if good:
            self._learn_pace(length, len(good), repeats, start)
        outcomes = [timed.get(config) or why[config] or Failure("no time", "") for config in configs]
        for config, outcome in zip(configs, outcomes, strict=True):
            if isinstance(outcome, Failure) and outcome.kind == "no time":
                continue
            self.tried.add(config)
            if isinstance(outcome, Failure):
                self.failed[config] = outcome
        return outcomes

    def _check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        """Why each cannot be used; asked of the machine once a configuration."""
        new = [config for config in dict.fromkeys(configs) if config not in self.good and config not in self.failed]
        unknown: dict[KernelConfig, Failure] = {}
        if new:
            start = self.clock()
            for config, why in zip(new, self.bench.check(new, until), strict=True):
                if why is None:
                    self.good.add(config)
                elif why.kind == "no time":
                    unknown[config] = why
                else:
                    self.failed[config] = why
            self.check_seconds = max((self.clock() - start) / -(-len(new) // self.wave), 0.5 * self.check_seconds)
        return [self.failed.get(config, unknown.get(config)) for config in configs]

    def _learn_pace(self, length: int, count: int, repeats: int, start: float) -> None:
        runs = count * (repeats + 1) + (0 if length in self.run_pace else SETTING_UP)
        self.run_pace[length] = (self.clock() - start) / runs

    def _checking(self, configs: Sequence[KernelConfig]) -> float:
        """Seconds that checking what is not checked yet takes, in waves."""
        new = sum(config not in self.good and config not in self.failed for config in configs)
        return -(-new // self.wave) * self.check_seconds

    def _cost(self, length: int, count: int, repeats: int) -> float:
        """Seconds that timing takes; at a length not seen yet, what grows quadratically would take."""
        if length in self.run_pace:
            return count * (repeats + 1) * self.run_pace[length]
        seen = [pace * (length / other) ** 2 for other, pace in self.run_pace.items()]
        return (count * (repeats + 1) + SETTING_UP) * min(seen, default=0.0)

    def _end_of_trying(self) -> float:
        """When trying ends: sooner where the last comparison takes long, but not before a third of the budget."""
        last = self._cost(self.lengths[-1], FINALISTS + 1, 1)
        return self.begun + max(min(TRYING * self.seconds, self.seconds - 1.5 * last), self.seconds / 3)

    def _room(self, length: int) -> int:
        """How many configurations to take on at once: at first one, then what fits; 0 when it is over."""
        left = self._end_of_trying() - self.clock()
        if not self.run_pace:
            return 1 if left > 0 else 0
        room = (left - self.check_seconds) / max(self._cost(length, 1, REPEATS), 1e-9)
        return max(0, min(self.wave, int(min(room, self.wave))))

    def _fastest(self, timed: dict[KernelConfig, Timing]) -> KernelConfig | None:
        return min(timed, key=lambda config: math.prod(timed[config].totals.values()), default=None)

    def _own(self, config: KernelConfig) -> Iterator[tuple[Slot, Choice]]:
        """The slots and choices of a configuration, taken out of the queues."""
        for group in self.space.groups:
            slot = (group.name, choice_of(config, group.shared))
            choice = choice_of(config, (axis.field for axis in group.axes))
            if choice in self.queues.get(slot, ()):
                self.queues[slot].remove(choice)
            yield slot, choice

    def _group(self, name: str) -> Group:
        return next(group for group in self.space.groups if group.name == name)

    def _tell(self, phase: str) -> None:
        if self.progress is None:
            return
        timed = self.compared or self.sampled
        default = timed.get(self.space.base)
        best = max((gain(default, one) for one in timed.values()), default=1.0) if default is not None else 1.0
        self.progress(Progress(phase, len(self.tried), len(self.failed), best, self.clock() - self.begun))


def _slots(space: Space, combination: Choice) -> list[Slot]:
    return [(group.name, project(combination, group.shared)) for group in space.groups]


def _other_values(axis: Axis, config: KernelConfig) -> list[Choice]:
    own = value_of(config, axis.field)
    return [((axis.field, value),) for value in axis.values if value != own]
