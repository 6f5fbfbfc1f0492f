"""The search: many choices of all groups at once at a short length, the best again at the real one, then whole calls.

A run of one module times every kernel, so a *slate* (one configuration) tries a new choice in each group. What is known
is kept per group, shared values and choice; the best configuration is put together from the best of each. What is tried
next is what looks best by the values it has, one at a time. While a wave of slates is timed, the next is compiled. Of a
slate that fails because of one kernel the other choices are tried again, one that fails for no known reason is taken
apart. All phases end in time: a wave is only begun if it will fit.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import PHASES, Failure, Outcome, Timing
from gsa_dsl.tuning.prune import Slot, Survivors
from gsa_dsl.tuning.space import Axis, Choice, Group, Space, choice_of, project, value_of, with_choice

TRYING, HALVING = 0.65, 0.85
"""Shares of the budget after which no new choices are tried, and after which the last comparison begins."""
COMPILED = 0.5
"""The share of a wave's check that is left where no kernel is new."""
FINALISTS = 3
REPEATS = 3
"""Runs a configuration is timed in, after one that is not counted; one where runs are long."""
LONG = 0.5
"""Seconds of a run of both phases that is long."""
SETTING_UP = 2
"""Runs that making the inputs at a new length takes as long as."""
GROWTH = 1.5
"""The power of the length that the time of a run is taken to grow with, where it has not been seen."""
TURN = 1.05
"""Each turn of shared values counts as if all kernels together took so many times as long: others come in between."""
UNSEEN = 0.01
"""What a value that was not tried is taken to save, as a logarithm: it comes before what is known to save nothing."""
SHRINKING, SWEEPS = 1.0, 10
"""Of fitted effects: as if there were so many more values of no effect, and how often each is fitted to the others."""
MARGIN = 0.01
"""A configuration must be faster by this much, or the planner's own is kept: less is noise."""


class Bench(Protocol):
    """What the search needs of the machine; all times are those of the search's clock."""

    def ready(self, until: float) -> None:
        """Wait for the machine to be ready to check."""

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        """Begin to compile what will be checked next, and return at once."""

    def inputs_ahead(self, length: int) -> None:
        """Begin to make the inputs for times at a length, and return at once."""

    def inputs(self, length: int, until: float) -> None:
        """Wait for the inputs for times at a length."""

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
    _fitted: dict[str, tuple[int, dict[tuple[str, int], float]]] = field(default_factory=dict)

    def learn(self, space: Space, config: KernelConfig, timing: Timing) -> None:
        """Take in what one run says of every group."""
        for group in space.groups:
            slot = (group.name, choice_of(config, group.shared))
            choice = choice_of(config, (axis.field for axis in group.axes))
            known = self.times.setdefault(slot, {})
            # Kernels that this length has no use for take no time at all.
            known[choice] = min(max(timing.of(group.kernels), 1e-9), known.get(choice, math.inf))

    def best(self, slot: Slot, count: int = 1) -> list[Choice]:
        """The fastest choices of a slot."""
        known = self.times.get(slot, {})
        return sorted(known, key=lambda choice: known[choice])[:count]

    def promise(self, slot: Slot, choice: Choice) -> float:
        """About how much longer than others in its slot a choice takes, as a logarithm, by its values one at a time.

        What values cost is taken from all slots of the group, each beside its own mean, and shrunk towards nothing
        where it was seen seldom.
        """
        count = sum(map(len, self.times.values()))
        if self._fitted.get(slot[0], (-1, {}))[0] != count:
            slots = [known for (group, _), known in self.times.items() if group == slot[0] and known]
            self._fitted[slot[0]] = count, _effects(slots)
        effects = self._fitted[slot[0]][1]
        return sum(effects.get(value, -UNSEEN) for value in choice)

    def expect(self, slot: Slot) -> float:
        """The best time of a slot; where it was not seen, of others of the group by what its shared values cost."""
        best = {other: min(known.values()) for other, known in self.times.items() if other[0] == slot[0] and known}
        if slot in best or not best:
            return best.get(slot, 0.0)
        least = min(best.values())
        ratios = [
            min((time / least for (_, shared), time in best.items() if value in shared), default=1.0)
            for value in slot[1]
        ]
        return least * math.prod(ratios)

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
    trying: float | None = None,
) -> Found:
    """Find the best configuration within ``seconds`` of ``clock``.

    ``combinations`` are the shared values to try, in order; ``lengths`` the lengths to measure at, the real one last;
    ``wave`` how many configurations are checked side by side; ``trying`` the share of the time after which no new
    choices are tried, which depends on the lengths unless given.
    """
    share = (TRYING if len(lengths) > 1 else HALVING) if trying is None else trying
    return _Search(space, survivors, combinations, bench, lengths, seconds, clock, wave, progress, share).run()


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
        trying: float,
    ) -> None:
        self.space, self.bench, self.clock, self.wave, self.trying = space, bench, clock, wave, trying
        self.combinations, self.lengths, self.progress = tuple(combinations), tuple(lengths), progress
        self.queues = {slot: deque(choices) for slot, choices in survivors.kept.items()}
        self.begun, self.seconds = clock(), seconds
        self.known = Knowledge()
        self.good: set[KernelConfig] = set()
        self.failed: dict[KernelConfig, Failure] = {}
        self.turns: Counter[Choice] = Counter()
        self.slates = self._slates()
        self.worked: set[Choice] = set()  # shared values at which something ran
        self.given_up: set[Choice] = set()  # and at which nothing does
        self.tried: set[KernelConfig] = set()
        self.sampled: dict[KernelConfig, Timing] = {}
        self.compared: dict[KernelConfig, Timing] = {}
        self.compared_at = self.lengths[-1]
        self.check_seconds, self.least_check = 0.0, math.inf  # a wave
        self.load_seconds = 0.0  # what timing a configuration takes beside its runs
        self.run_seconds: dict[int, float] = {}  # by length, of a run of both phases

    def run(self) -> Found:
        """The phases one after another; an interruption ends them and leaves what is known."""
        try:
            self._try()
            left = self._left()
            self._decide(self._halve())
        except KeyboardInterrupt:
            return self._conclude("interrupted")
        return self._conclude("budget" if left else "exhausted")

    def _try(self) -> None:
        """Waves of slates at the shortest length, until every choice was in one or the time for it is over."""
        length = self.lengths[0]
        self.bench.inputs_ahead(length)
        self.bench.ready(self._end_of_trying())
        again: deque[Slate] = deque()
        batch = [Slate(self.space.base, tuple(self._own(self.space.base))), *self._take(self.wave - 1)]
        while batch:
            until = self._end_of_trying()
            why = self._check([slate.config for slate in batch], until)
            following = self._following(again, length, len(batch))
            outcomes = self._measure(why, length, until)
            for slate in batch:
                outcome = outcomes[slate.config]
                if isinstance(outcome, Timing):
                    self.known.learn(self.space, slate.config, outcome)
                    self.sampled[slate.config] = outcome
                    self.worked.add(choice_of(slate.config, (axis.field for axis in self.space.shared)))
                elif outcome.kind == "no time":
                    self._put_back(slate)
                else:
                    again.extend(self._without_blamed(slate, outcome))
            self._tell("trying")
            if self._hopeless() or self.clock() >= self._end_of_trying():
                for slate in (*following, *again):
                    self._put_back(slate)
                return
            batch = following or self._following(again, length, 0)

    def _following(self, again: deque[Slate], length: int, busy: int) -> list[Slate]:
        """The next wave, which is compiled while ``busy`` configurations are timed; empty where it would not fit."""
        room = self._room(length, busy)
        batch = [again.popleft() for _ in range(min(len(again), room))]
        batch += self._take(room - len(batch))
        if busy and batch:
            self.bench.compile_ahead([slate.config for slate in batch])
        return batch

    def _hopeless(self) -> bool:
        """Whether the planner's own configuration fails for a reason that other tile sizes will not change."""
        why = self.failed.get(self.space.base)
        return why is not None and why.kind != "out of resources"

    def _take(self, count: int) -> list[Slate]:
        """The next slates, fewer where nothing is left; choices that were put back since are asked for anew."""
        taken = list(islice(self.slates, count))
        if len(taken) < count:
            self.slates = self._slates()
            taken += islice(self.slates, count - len(taken))
        return taken

    def _slates(self) -> Iterator[Slate]:
        """Configurations of untried choices, most often at the shared values that look good, until nothing is left."""
        while left := self._left():
            seen = {value for combination in self.turns for value in combination}

            def last(one: Choice, seen: set[tuple[str, int]] = seen) -> tuple[bool, float]:
                return seen.issuperset(one), self._expected(one) * TURN ** self.turns[one]

            combination = min(left, key=last)
            self.turns[combination] += 1
            slots = [slot for slot in _slots(self.space, combination) if self.queues.get(slot)]
            yield self._slate(combination, [(slot, self._next(slot)) for slot in slots])

    def _expected(self, combination: Choice) -> float:
        return sum(self.known.expect(slot) for slot in _slots(self.space, combination))

    def _left(self) -> list[Choice]:
        """The shared values with something left to try."""
        return [one for one in self.combinations if one not in self.given_up and self._open(one)]

    def _open(self, combination: Choice) -> bool:
        """Whether there is something left to try, and every kernel has a choice that may run."""
        slots = _slots(self.space, combination)
        return any(self.queues.get(slot) for slot in slots) and all(
            self.queues.get(slot) or self.known.best(slot) for slot in slots
        )

    def _next(self, slot: Slot) -> Choice:
        """The most promising choice of a queue, taken out of it; of equal ones the first."""
        choice = min(self.queues[slot], key=lambda one: self.known.promise(slot, one))
        self.queues[slot].remove(choice)
        return choice

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
        """What to try of a failed slate to find the culprit; what is innocent goes back to its queue."""
        combination = choice_of(slate.config, (axis.field for axis in self.space.shared))
        if not slate.new:
            self.given_up.add(combination)
            return []
        blamed = [one for one in slate.new if len(slate.new) == 1 or failure.kernel in self._group(one[0][0]).kernels]
        if blamed and (combination in self.worked or len(slate.new) > 1):
            self._put_back(Slate(slate.config, tuple(one for one in slate.new if one not in blamed)))
            return []
        if combination in self.worked:
            # Nothing names the culprit: each choice by itself will.
            return [self._slate(combination, [one]) for one in slate.new]
        # The shared values may be to blame, and not what is new.
        self._put_back(slate)
        plain = self._slate(combination, ())
        if plain.config in self.failed:
            self.given_up.add(combination)
        return [plain]

    def _put_back(self, slate: Slate) -> None:
        for slot, choice in slate.new:
            if slot in self.queues:
                self.queues[slot].appendleft(choice)

    def _halve(self) -> list[KernelConfig]:
        """The best of every group again at the real length, as far as time allows; the configurations to compare."""
        length = self.lengths[-1]
        until = min(self.begun + HALVING * self.seconds, self._last_comparison())
        totals = {one: self.known.total(self.space, one) for one in self.combinations}
        ranked = sorted((one for one in totals if math.isfinite(totals[one])), key=lambda one: totals[one])[:FINALISTS]
        again = Knowledge()
        places = (self.known.assemble(self.space, one, place) for place in range(FINALISTS) for one in ranked)
        configs = list(dict.fromkeys(config for config in places if config is not None))
        while configs and self._checking(configs) + self._cost(length, len(configs), 1) > until - self.clock():
            configs.pop()
        if configs and len(self.lengths) > 1:
            self.bench.inputs_ahead(length)
            why = self._check(configs, until)
        for config in configs if len(self.lengths) > 1 else ():
            if self.clock() + self._cost(length, 1, 1) >= until:
                break
            outcome = self._measure({config: why[config]}, length, until)[config]
            if isinstance(outcome, Timing):
                again.learn(self.space, config, outcome)
            self._tell("halving")
        finals = [again.assemble(self.space, one) or self.known.assemble(self.space, one) for one in ranked]
        return list(dict.fromkeys(config for config in finals if config is not None))

    def _decide(self, finalists: Sequence[KernelConfig]) -> None:
        """Whole calls of the finalists beside the default, interleaved; then what only whole calls decide."""
        for length in reversed(self.lengths):
            # Where runs at the real length take too long, a shorter one decides.
            self._compare([self.space.base, *finalists], length)
            if self.compared:
                break
        winner = self._fastest(self.compared)
        if winner is not None and self.space.whole:
            others = [with_choice(winner, one) for axis in self.space.whole for one in _other_values(axis, winner)]
            self._compare([self.space.base, winner, *others], self.compared_at, least=3)

    def _compare(self, configs: Sequence[KernelConfig], length: int, least: int = 2) -> None:
        """Times of whole calls of as many configurations as fit, the default first; earlier ones are forgotten."""
        until = self.begun + self.seconds
        fitting = list(dict.fromkeys(configs))
        while self._checking(fitting) + self._cost(length, len(fitting), 1) > until - self.clock():
            if len(fitting) <= least:
                return
            fitting.pop()
        self.bench.inputs_ahead(length)
        self._check(fitting, until)
        good = [config for config in fitting if config in self.good]
        if not good or (self.space.base not in good and self.space.base not in self.failed):
            return
        self.bench.inputs(length, until)
        left = until - self.clock()
        pace = len(good) * self.run_seconds.get(length, self._cost(length, 1, 0))
        repeats = 2 * REPEATS if pace <= 0 else max(1, min(2 * REPEATS, int(left / 2 / pace) - 1))
        start = self.clock()
        outcomes = dict(zip(good, self.bench.time(good, length, repeats, until, kernels=False), strict=True))
        self._learn_pace(length, list(outcomes.values()), repeats, start)
        timed = {config: one for config, one in outcomes.items() if isinstance(one, Timing)}
        self.failed |= {c: one for c, one in outcomes.items() if isinstance(one, Failure) and one.kind != "no time"}
        self.tried.update(good)
        if timed and (self.space.base in timed or self.space.base in self.failed):
            self.compared, self.compared_at = timed, length
        self._tell("comparing")

    def _conclude(self, ended: str) -> Found:
        """The winner of the last comparison; without one, of the runs that timed single kernels."""
        timed, length = (self.compared, self.compared_at) if self.compared else (self.sampled, self.lengths[0])
        default, winner = timed.get(self.space.base), self._fastest(timed)
        if default is not None and winner is not None and gain(default, timed[winner]) < 1 + MARGIN:
            winner = self.space.base
        config = self.space.base if winner is None else winner
        failed = tuple(self.failed.items())
        return Found(config, default, timed.get(config), length, len(self.tried), failed, ended)

    def _measure(
        self, why: Mapping[KernelConfig, Failure | None], length: int, until: float
    ) -> dict[KernelConfig, Outcome]:
        """Time what passed its check kernel by kernel: at first one, to know the pace, then as many as fit."""
        good = [config for config, one in why.items() if one is None]
        timed: dict[KernelConfig, Outcome] = {}
        while left := [config for config in good if config not in timed]:
            repeats = self._repeats(length)
            room = int((until - self.clock()) / max(self._cost(length, 1, repeats), 1e-9)) if timed else len(left)
            batch = left[: room if length in self.run_seconds else 1]
            if not batch:
                break
            self.bench.inputs(length, until)
            start = self.clock()
            outcomes = self.bench.time(batch, length, repeats, until, kernels=True)
            timed |= zip(batch, outcomes, strict=True)
            self._learn_pace(length, outcomes, repeats, start)
        made = {config: timed.get(config) or one or Failure("no time", "") for config, one in why.items()}
        for config, outcome in made.items():
            if isinstance(outcome, Failure) and outcome.kind == "no time":
                continue
            self.tried.add(config)
            if isinstance(outcome, Failure):
                self.failed[config] = outcome
        return made

    def _repeats(self, length: int) -> int:
        return 1 if self.run_seconds.get(length, 0.0) > LONG else REPEATS

    def _check(self, configs: Sequence[KernelConfig], until: float) -> dict[KernelConfig, Failure | None]:
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
            self.check_seconds = (self.clock() - start) / -(-len(new) // self.wave)
            self.least_check = min(self.least_check, self.check_seconds)
        return {config: self.failed.get(config, unknown.get(config)) for config in configs}

    def _learn_pace(self, length: int, outcomes: Sequence[Outcome], repeats: int, start: float) -> None:
        runs = [sum(one.totals.values()) / 1e3 for one in outcomes if isinstance(one, Timing)]
        cut_off = any(isinstance(one, Failure) and one.kind == "no time" for one in outcomes)
        if runs:
            self.run_seconds[length] = run = sum(runs) / len(runs)
            self.load_seconds = max((self.clock() - start) / len(outcomes) - (repeats + 1) * run, 0.0)
        elif cut_off and length not in self.run_seconds:
            # Not even one run was to be had: nothing more is begun there.
            self.run_seconds[length] = math.inf

    def _checking(self, configs: Sequence[KernelConfig]) -> float:
        """Seconds that checking takes of what is put together from kernels that were compiled before."""
        new = sum(config not in self.good and config not in self.failed for config in configs)
        return -(-new // self.wave) * self.least_check * COMPILED if new else 0.0

    def _cost(self, length: int, count: int, repeats: int) -> float:
        """Seconds that timing takes; at a length not seen yet, as times are taken to grow."""
        seen = [run * (length / other) ** GROWTH for other, run in self.run_seconds.items()]
        run = self.run_seconds.get(length, min(seen, default=0.0))
        timing = count * (self.load_seconds + (repeats + 1) * run)
        return timing if length in self.run_seconds else timing + SETTING_UP * run

    def _end_of_trying(self) -> float:
        """When trying ends: sooner where the last comparison takes long, but not before a third of the budget."""
        if 1.5 * self._cost(self.lengths[-1], 2, 1) > 2 / 3 * self.seconds:
            # Runs at the real length take too long for any comparison: the shorter length has all the time.
            return self.begun + HALVING * self.seconds
        return max(min(self.begun + self.trying * self.seconds, self._last_comparison()), self.begun + self.seconds / 3)

    def _last_comparison(self) -> float:
        """When the comparison of a few must begin to be over in time."""
        return self.begun + self.seconds - 1.2 * self._cost(self.lengths[-1], FINALISTS, 1)

    def _room(self, length: int, busy: int) -> int:
        """How many configurations fit in the next wave, once ``busy`` are timed and it is compiled; at most a wave."""
        each = self._cost(length, 1, self._repeats(length))
        if math.isinf(each):
            return 0
        # What is compiled meanwhile is ready no sooner than that takes, and is still to be checked.
        ready = max(busy * each + COMPILED * self.check_seconds, self.check_seconds)
        left = self._end_of_trying() - self.clock() - ready
        return max(0, min(self.wave, int(min(left / max(each, 1e-9), self.wave))))

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


def _effects(slots: Sequence[Mapping[Choice, float]]) -> dict[tuple[str, int], float]:
    """What each value of an axis costs, as a logarithm: effects that add up, each fitted to what the others leave."""
    rows = []
    for known in slots:
        mean = sum(math.log(time) for time in known.values()) / len(known)
        rows += [(choice, math.log(time) - mean) for choice, time in known.items()]
    effects: dict[tuple[str, int], float] = {value: 0.0 for choice, _ in rows for value in choice}
    with_value = {value: [(choice, cost) for choice, cost in rows if value in choice] for value in effects}
    for _ in range(SWEEPS):
        for value, of in with_value.items():
            left = sum(cost - sum(effects[one] for one in choice) + effects[value] for choice, cost in of)
            effects[value] = left / (len(of) + SHRINKING)
    return effects
