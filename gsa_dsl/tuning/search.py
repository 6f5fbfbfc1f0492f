"""The search: many choices of all groups at once at a short length, the best again at the real one, then whole calls.

A run of one module times every kernel, so a *slate* (one configuration) tries new choices in several groups. What is
known is kept per group, shared values and choice; the best configuration is put together from the best of each. What is
tried next is what looks best by the values it has, one at a time (:mod:`gsa_dsl.tuning.slates`). The planner's own
configuration comes first and alone: inputs are made with it, and its times weigh the groups. While a wave of slates is
checked and timed, the next is compiled. Of a slate that fails because of one kernel the other choices are tried again,
one that fails for no known reason is taken apart. What takes part in the last comparison is proved before. All phases
end in time: a wave is only begun if it will fit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import PHASES, Failure, Outcome, Timing
from gsa_dsl.tuning.knowledge import Knowledge
from gsa_dsl.tuning.pace import CompilePace
from gsa_dsl.tuning.prune import Survivors
from gsa_dsl.tuning.slates import Slate, Slates
from gsa_dsl.tuning.space import Axis, Choice, Space, value_of, with_choice

TRYING, HALVING = 0.75, 0.85
"""Shares of the budget after which no new choices are tried, and after which the last comparison begins."""
WAVE = 0.1
"""Share of the budget that compiling a wave may take where the wave before it is done sooner: later ones know more."""
FINALISTS = 3
REPEATS = 3
"""Runs a configuration is timed in, after one that is not counted; one where runs are long."""
LONG = 0.5
"""Seconds of a run of both phases that is long."""
SETTING_UP = 2
"""Runs that making the inputs at a new length takes as long as."""
GROWTH = 1.5
"""The power of the length that the time of a run is taken to grow with, where it has not been seen."""
WAITED = 0.05
"""Seconds from which on compiling was waited for."""
MARGIN = 0.01
"""A configuration must be faster by this much, or the planner's own is kept: less is noise."""


_Why = Mapping[KernelConfig, Failure | None]
"""Why each configuration cannot be used, as far as is known; None where nothing is held against it."""


class Bench(Protocol):
    """What the search needs of the machine; all times are those of the search's clock."""

    def ready(self, until: float) -> None:
        """Wait for the machine to be ready."""

    def prepare(self, base: KernelConfig, until: float) -> None:
        """Wait for the planner's configuration to be compiled, which inputs are made with."""

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        """Begin to compile what will be checked next, and return at once."""

    def compile(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        """Wait for what was begun, and compile what was not; why each does not compile, None for those that do."""

    def inputs_ahead(self, length: int) -> None:
        """Begin to make the inputs for times at a length, and return at once."""

    def inputs(self, length: int, until: float) -> None:
        """Wait for the inputs for times at a length."""

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        """Which configurations cannot run, or miss the results of the planner's; None for those that can be used."""

    def prove(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        """Which configurations miss the results of the reference; None for those that can be chosen."""

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
    abreast: int = 1,
    progress: Callable[[Progress], None] | None = None,
    trying: float | None = None,
    sweep: bool = False,
) -> Found:
    """Find the best configuration within ``seconds`` of ``clock``.

    ``combinations`` are the shared values to try, in order; ``lengths`` the lengths to measure at, the real one last;
    ``wave`` how many configurations are compiled side by side, ``abreast`` how many are checked; ``trying`` the share
    of the time after which no new choices are tried, which depends on the lengths unless given. A ``sweep`` has time
    for everything: every group takes part in every configuration, cheap or not.
    """
    share = (TRYING if len(lengths) > 1 else HALVING) if trying is None else trying
    known = Knowledge()
    slates = Slates(space, survivors, combinations, known, everyone=sweep)
    return _Search(
        space, combinations, known, slates, bench, lengths, seconds, clock, wave, abreast, progress, share
    ).run()


class _Search:
    def __init__(
        self,
        space: Space,
        combinations: Sequence[Choice],
        known: Knowledge,
        slates: Slates,
        bench: Bench,
        lengths: Sequence[int],
        seconds: float,
        clock: Callable[[], float],
        wave: int,
        abreast: int,
        progress: Callable[[Progress], None] | None,
        trying: float,
    ) -> None:
        self.space, self.bench, self.clock, self.trying = space, bench, clock, trying
        self.wave, self.abreast = wave, abreast
        self.combinations, self.lengths, self.progress = tuple(combinations), tuple(lengths), progress
        self.begun, self.seconds = clock(), seconds
        self.known, self.slates = known, slates
        self.good: set[KernelConfig] = set()  # held against the planner's
        self.proved: set[KernelConfig] = set()  # held against the reference
        self.failed: dict[KernelConfig, Failure] = {}
        self.tried: set[KernelConfig] = set()
        self.sampled: dict[KernelConfig, Timing] = {}
        self.compared: dict[KernelConfig, Timing] = {}
        self.compared_at = self.lengths[-1]
        self.compiling: tuple[float, float] | None = None  # since when, and what share of a configuration's kernels
        self.pace = CompilePace()
        self.check_seconds, self.least_check = 0.0, math.inf  # as many as are checked side by side
        self.prove_seconds = 0.0
        self.load_seconds = 0.0  # what timing a configuration takes beside its runs
        self.run_seconds: dict[int, float] = {}  # by length, of a run of both phases

    def run(self) -> Found:
        """The phases one after another; an interruption ends them and leaves what is known."""
        try:
            self._try()
            left = self.slates.left()
            self._decide(self._halve())
            self._prove_sampled()
        except KeyboardInterrupt:
            return self._conclude("interrupted")
        return self._conclude("budget" if left else "exhausted")

    def _try(self) -> None:
        """Waves of slates at the shortest length, until every choice was in one or the time for it is over."""
        length = self.lengths[0]
        self.bench.ready(self._end_of_trying())
        start = self.clock()
        self.bench.prepare(self.space.base, self._end_of_trying())
        if (took := self.clock() - start) > WAITED:
            self.pace.learn(1.0, took, waited=True)
        self.bench.inputs_ahead(length)
        again: deque[Slate] = deque()
        batch = [self.slates.base()]
        while batch:
            until = self._end_of_trying()
            why = self._compile([slate.config for slate in batch], until)
            following = self._following(again, length, len(batch))
            why = self._check(why, until)
            if self.space.base in why:
                # What all others are held against is itself held against the reference.
                why = self._prove(why, until)
            outcomes = self._measure(why, length, until)
            for slate in batch:
                outcome = outcomes[slate.config]
                if isinstance(outcome, Timing):
                    self.known.learn(self.space, slate.config, outcome)
                    self.sampled[slate.config] = outcome
                    self.slates.ran(slate)
                elif outcome.kind == "no time":
                    self.slates.put_back(slate)
                else:
                    again.extend(self.slates.without_blamed(slate, outcome, self.failed))
            self._tell("trying")
            if self._hopeless() or self.clock() >= self._end_of_trying():
                for slate in (*following, *again):
                    self.slates.put_back(slate)
                return
            batch = following or self._following(again, length, 0)

    def _following(self, again: deque[Slate], length: int, busy: int) -> list[Slate]:
        """The next wave, which is compiled while ``busy`` are checked and timed; empty where it would not fit."""
        batch: list[Slate] = []
        while len(batch) < self.wave and self._fits(batch, length, busy):
            slate = again.popleft() if again else self.slates.next()
            if slate is None:
                break
            batch.append(slate)
        if batch:
            self.compiling = self.clock(), sum(slate.share for slate in batch)
            self.bench.compile_ahead([slate.config for slate in batch])
        return batch

    def _fits(self, batch: Sequence[Slate], length: int, busy: int) -> bool:
        """Whether one more like the last has its place in the next wave, once ``busy`` are done and it is compiled."""
        each, count = self._cost(length, 1, self._repeats(length)), len(batch) + 1
        if math.isinf(each):
            return False
        meanwhile = busy * each + self._rounds(busy) * self.check_seconds
        share = sum(slate.share for slate in batch) + (batch[-1].share if batch else 0.0)
        compiling = self.pace.seconds(share)
        done = max(meanwhile, compiling) + self._rounds(count) * self.check_seconds + count * each
        if self.clock() + done > self._end_of_trying():
            return False
        # Where the planner's was compiled for another length, the first wave tells how long compiling takes.
        enough = max(meanwhile, WAVE * self.seconds, 2 * self.pace.least)
        return not batch or (self.pace.known and compiling <= enough)

    def _hopeless(self) -> bool:
        """Whether the planner's own configuration fails for a reason that other tile sizes will not change."""
        why = self.failed.get(self.space.base)
        return why is not None and why.kind != "out of resources"

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
            why = self._check(self._compile(configs, until), until)
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
        likely = self._others(finalists[0]) if finalists else []
        for length in reversed(self.lengths):
            # Where runs at the real length take too long, a shorter one decides.
            self._compare([self.space.base, *finalists], length, ahead=likely)
            if self.compared:
                break
        winner = self._fastest(self.compared)
        if winner is not None and self.space.whole:
            self._compare([self.space.base, winner, *self._others(winner)], self.compared_at, least=3)

    def _others(self, config: KernelConfig) -> list[KernelConfig]:
        """What differs from a configuration in one of the values that only whole calls decide."""
        return [with_choice(config, one) for axis in self.space.whole for one in _other_values(axis, config)]

    def _compare(
        self, configs: Sequence[KernelConfig], length: int, least: int = 2, ahead: Sequence[KernelConfig] = ()
    ) -> None:
        """Times of whole calls of as many configurations as fit, the default first; earlier ones are forgotten.

        Only what is proved takes part. Meanwhile ``ahead`` is compiled, which is likely to be compared next.
        """
        until = self.begun + self.seconds
        fitting = list(dict.fromkeys(configs))
        while self._checking(fitting, proof=True) + self._cost(length, len(fitting), 1) > until - self.clock():
            if len(fitting) <= least:
                return
            fitting.pop()
        self.bench.inputs_ahead(length)
        why = self._proved(fitting, until)
        good = [config for config, one in why.items() if one is None]
        if not good or (self.space.base not in good and self.space.base not in self.failed):
            return
        if ahead:
            self.bench.compile_ahead(ahead)
        self.bench.inputs(length, until)
        left = until - self.clock() - len(good) * self.load_seconds
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

    def _prove_sampled(self) -> None:
        """Without a comparison the fastest of single runs is chosen, of those that are proved in the time left."""
        ranked = [] if self.compared else sorted(self.sampled, key=lambda one: _product(self.sampled[one]))
        for config in ranked[:FINALISTS]:
            if self._proved([config], self.begun + self.seconds)[config] is None:
                return

    def _conclude(self, ended: str) -> Found:
        """The winner of the last comparison; without one, of the runs that timed single kernels.

        All of these are proved, but for the best so far of an interrupted search, which was held against the planner's.
        """
        timed, length = (self.compared, self.compared_at) if self.compared else (self.sampled, self.lengths[0])
        if not self.compared and ended != "interrupted":
            timed = {config: one for config, one in timed.items() if config in self.proved}
        default, winner = timed.get(self.space.base), self._fastest(timed)
        if default is not None and winner is not None and gain(default, timed[winner]) < 1 + MARGIN:
            winner = self.space.base
        config = self.space.base if winner is None else winner
        failed = tuple(self.failed.items())
        return Found(config, default, timed.get(config), length, len(self.tried), failed, ended)

    def _measure(self, why: _Why, length: int, until: float) -> dict[KernelConfig, Outcome]:
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

    def _compile(self, configs: Sequence[KernelConfig], until: float) -> _Why:
        """Why each does not compile or cannot be used; how long compiling takes is learned of the wave begun ahead."""
        start = self.clock()
        why = self._ask(dict.fromkeys(configs), (), self.bench.compile, until)
        if self.compiling is not None:
            begun, share = self.compiling
            self.compiling = None
            # Where it was over before anyone waited, it took no longer.
            self.pace.learn(share, self.clock() - begun, waited=self.clock() - start > WAITED)
        return why

    def _check(self, why: _Why, until: float) -> _Why:
        """``why`` with the reasons of those that the machine finds wrong; asked once a configuration."""
        start, new = self.clock(), self._unasked(why, self.good)
        why = self._ask(why, self.good, self.bench.check, until)
        self.good.update(config for config in new if why[config] is None)
        if new:
            self.check_seconds = (self.clock() - start) / self._rounds(len(new))
            self.least_check = min(self.least_check, self.check_seconds)
        return why

    def _prove(self, why: _Why, until: float) -> _Why:
        """``why`` with the reasons of those that miss the reference; asked once a configuration."""
        start, new = self.clock(), self._unasked(why, self.proved)
        why = self._ask(why, self.proved, self.bench.prove, until)
        self.proved.update(config for config in new if why[config] is None)
        if new:
            self.prove_seconds = (self.clock() - start) / self._rounds(len(new))
        return why

    def _proved(self, configs: Sequence[KernelConfig], until: float) -> _Why:
        """Compiled, checked and proved: why each cannot be chosen."""
        return self._prove(self._check(self._compile(configs, until), until), until)

    def _unasked(self, why: _Why, known: Container[KernelConfig]) -> list[KernelConfig]:
        return [c for c, one in why.items() if one is None and c not in known and c not in self.failed]

    def _ask(
        self,
        why: _Why,
        known: Container[KernelConfig],
        ask: Callable[[Sequence[KernelConfig], float], list[Failure | None]],
        until: float,
    ) -> _Why:
        """``why`` with what failed before, and the answers for those that nothing is known of."""
        new = self._unasked(why, known)
        answers = dict(zip(new, ask(new, until) if new else (), strict=True))
        self.failed |= {config: one for config, one in answers.items() if one is not None and one.kind != "no time"}
        return {config: one or self.failed.get(config, answers.get(config)) for config, one in why.items()}

    def _learn_pace(self, length: int, outcomes: Sequence[Outcome], repeats: int, start: float) -> None:
        runs = [sum(one.totals.values()) / 1e3 for one in outcomes if isinstance(one, Timing)]
        cut_off = any(isinstance(one, Failure) and one.kind == "no time" for one in outcomes)
        if runs:
            self.run_seconds[length] = run = sum(runs) / len(runs)
            self.load_seconds = max((self.clock() - start) / len(outcomes) - (repeats + 1) * run, 0.0)
        elif cut_off and length not in self.run_seconds:
            # Not even one run was to be had: nothing more is begun there.
            self.run_seconds[length] = math.inf

    def _rounds(self, count: int) -> int:
        """How many times so many configurations fill the children that check."""
        return -(-count // self.abreast)

    def _checking(self, configs: Sequence[KernelConfig], *, proof: bool = False) -> float:
        """Seconds that checking takes, and proving, of what is put together from kernels that were compiled before."""
        why: _Why = dict.fromkeys(configs)
        rounds = self._rounds(len(self._unasked(why, self.good)))
        proving = self._rounds(len(self._unasked(why, self.proved))) * self.prove_seconds if proof else 0.0
        return (rounds * self.least_check if rounds else 0.0) + proving

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
        check = self.least_check if math.isfinite(self.least_check) else 0.0
        proving = self._rounds(FINALISTS) * (check + self.prove_seconds)
        return self.begun + self.seconds - 1.2 * self._cost(self.lengths[-1], FINALISTS, 1) - proving

    def _fastest(self, timed: dict[KernelConfig, Timing]) -> KernelConfig | None:
        return min(timed, key=lambda config: _product(timed[config]), default=None)

    def _tell(self, phase: str) -> None:
        if self.progress is None:
            return
        timed = self.compared or self.sampled
        default = timed.get(self.space.base)
        best = max((gain(default, one) for one in timed.values()), default=1.0) if default is not None else 1.0
        self.progress(Progress(phase, len(self.tried), len(self.failed), best, self.clock() - self.begun))


def _product(timing: Timing) -> float:
    """Least where the geometric mean of the phases is."""
    return math.prod(timing.totals.values())


def _other_values(axis: Axis, config: KernelConfig) -> list[Choice]:
    own = value_of(config, axis.field)
    return [((axis.field, value),) for value in axis.values if value != own]
