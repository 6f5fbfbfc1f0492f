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
from collections.abc import Callable, Sequence

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.answers import REPEATS, WAITED, Answers, Bench
from gsa_dsl.tuning.found import Found, Progress, gain, product
from gsa_dsl.tuning.job import Timing
from gsa_dsl.tuning.knowledge import Knowledge
from gsa_dsl.tuning.prune import Survivors
from gsa_dsl.tuning.slates import Slate, Slates
from gsa_dsl.tuning.space import Axis, Choice, Space, value_of, with_choice

TRYING, HALVING = 0.75, 0.85
"""Shares of the budget after which no new choices are tried, and after which the last comparison begins."""
WAVE = 0.1
"""Share of the budget that compiling a wave may take where the wave before it is done sooner: later ones know more."""
FINALISTS = 3
MARGIN = 0.01
"""A configuration must be faster by this much, or the planner's own is kept: less is noise."""
WORTH = 1.05
"""How many times as fast what takes a larger workspace must be: at 131072 tokens twice the workspace is a tenth of what
a call of ``gsa`` holds at its peak.
"""


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
        self.wave, self.answers = wave, Answers(bench, clock, abreast)
        self.combinations, self.lengths, self.progress = tuple(combinations), tuple(lengths), progress
        self.begun, self.seconds = clock(), seconds
        self.known, self.slates = known, slates
        self.sampled: dict[KernelConfig, Timing] = {}
        self.compared: dict[KernelConfig, Timing] = {}
        self.compared_at = self.lengths[-1]

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
            self.answers.pace.learn(1.0, took, waited=True)
        self.bench.inputs_ahead(length)
        again: deque[Slate] = deque()
        batch = [self.slates.base()]
        while batch:
            until = self._end_of_trying()
            why = self.answers.compile([slate.config for slate in batch], until)
            following = self._following(again, length, len(batch))
            why = self.answers.check(why, until)
            if self.space.base in why:
                # What all others are held against is itself held against the reference.
                why = self.answers.prove(why, until)
            outcomes = self.answers.measure(why, length, until)
            for slate in batch:
                outcome = outcomes[slate.config]
                if isinstance(outcome, Timing):
                    self.known.learn(self.space, slate.config, outcome)
                    self.sampled[slate.config] = outcome
                    self.slates.ran(slate)
                elif outcome.kind == "no time":
                    self.slates.put_back(slate)
                else:
                    again.extend(self.slates.without_blamed(slate, outcome, self.answers.failed))
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
            self.answers.compile_ahead([slate.config for slate in batch], sum(slate.share for slate in batch))
        return batch

    def _fits(self, batch: Sequence[Slate], length: int, busy: int) -> bool:
        """Whether one more like the last has its place in the next wave, once ``busy`` are done and it is compiled."""
        each, count = self.answers.cost(length, 1, self.answers.repeats(length)), len(batch) + 1
        if math.isinf(each):
            return False
        meanwhile = busy * each + self.answers.rounds(busy) * self.answers.check_seconds
        share = sum(slate.share for slate in batch) + (batch[-1].share if batch else 0.0)
        compiling = self.answers.pace.seconds(share)
        done = max(meanwhile, compiling) + self.answers.rounds(count) * self.answers.check_seconds + count * each
        if self.clock() + done > self._end_of_trying():
            return False
        # Where the planner's was compiled for another length, the first wave tells how long compiling takes.
        enough = max(meanwhile, WAVE * self.seconds, 2 * self.answers.pace.least)
        return not batch or (self.answers.pace.known and compiling <= enough)

    def _hopeless(self) -> bool:
        """Whether the planner's own configuration fails for a reason that other tile sizes will not change."""
        why = self.answers.failed.get(self.space.base)
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
        while configs and self.answers.comparing(configs, length) > until - self.clock():
            configs.pop()
        if configs and len(self.lengths) > 1:
            self.bench.inputs_ahead(length)
            why = self.answers.check(self.answers.compile(configs, until), until)
        for config in configs if len(self.lengths) > 1 else ():
            if self.clock() + self.answers.cost(length, 1, 1) >= until:
                break
            outcome = self.answers.measure({config: why[config]}, length, until)[config]
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
        while self.answers.comparing(fitting, length, proof=True) > until - self.clock():
            if len(fitting) <= least:
                return
            fitting.pop()
        self.bench.inputs_ahead(length)
        why = self.answers.proved(fitting, until)
        good = [config for config, one in why.items() if one is None]
        if not good or (self.space.base not in good and self.space.base not in self.answers.failed):
            return
        if ahead:
            self.bench.compile_ahead(ahead)
        self.bench.inputs(length, until)
        left = until - self.clock() - len(good) * self.answers.load_seconds
        pace = len(good) * self.answers.run_seconds.get(length, self.answers.cost(length, 1, 0))
        repeats = 2 * REPEATS if pace <= 0 else max(1, min(2 * REPEATS, int(left / 2 / pace) - 1))
        start = self.clock()
        outcomes = dict(zip(good, self.bench.time(good, length, repeats, until, kernels=False), strict=True))
        self.answers.learn_pace(length, list(outcomes.values()), repeats, start)
        timed = {config: one for config, one in outcomes.items() if isinstance(one, Timing)}
        self.answers.note(outcomes)
        self.answers.tried.update(good)
        if timed and (self.space.base in timed or self.space.base in self.answers.failed):
            self.compared, self.compared_at = timed, length
        self._tell("comparing")

    def _prove_sampled(self) -> None:
        """Without a comparison the fastest of single runs is chosen, of those that are proved in the time left."""
        ranked = [] if self.compared else sorted(self.sampled, key=lambda one: product(self.sampled[one]))
        for config in ranked[:FINALISTS]:
            if self.answers.proved([config], self.begun + self.seconds)[config] is None:
                return

    def _conclude(self, ended: str) -> Found:
        """The winner of the last comparison; without one, of the runs that timed single kernels.

        All of these are proved, but for the best so far of an interrupted search, which was held against the planner's.
        """
        timed, length = (self.compared, self.compared_at) if self.compared else (self.sampled, self.lengths[0])
        if not self.compared and ended != "interrupted":
            timed = {config: one for config, one in timed.items() if config in self.answers.proven}
        default, winner = timed.get(self.space.base), self._fastest(timed)
        if default is not None and winner is not None and gain(default, timed[winner]) < 1 + MARGIN:
            winner = self.space.base
        config = self.space.base if winner is None else winner
        failed = tuple(self.answers.failed.items())
        return Found(config, default, timed.get(config), length, len(self.answers.tried), failed, ended)

    def _end_of_trying(self) -> float:
        """When trying ends: sooner where the last comparison takes long, but not before a third of the budget."""
        if 1.5 * self.answers.cost(self.lengths[-1], 2, 1) > 2 / 3 * self.seconds:
            # Runs at the real length take too long for any comparison: the shorter length has all the time.
            return self.begun + HALVING * self.seconds
        return max(min(self.begun + self.trying * self.seconds, self._last_comparison()), self.begun + self.seconds / 3)

    def _last_comparison(self) -> float:
        """When the comparison of a few must begin to be over in time."""
        check = self.answers.least_check if math.isfinite(self.answers.least_check) else 0.0
        proving = self.answers.rounds(FINALISTS) * (check + self.answers.prove_seconds)
        return self.begun + self.seconds - 1.2 * self.answers.cost(self.lengths[-1], FINALISTS, 1) - proving

    def _fastest(self, timed: dict[KernelConfig, Timing]) -> KernelConfig | None:
        """The fastest; one that takes more memory than the planner's must be worth it."""

        def price(config: KernelConfig) -> float:
            more = config.workspace_mib > self.space.base.workspace_mib
            return product(timed[config]) * (WORTH ** len(timed[config].totals) if more else 1.0)

        return min(timed, key=price, default=None)

    def _tell(self, phase: str) -> None:
        if self.progress is None:
            return
        timed = self.compared or self.sampled
        default = timed.get(self.space.base)
        best = max((gain(default, one) for one in timed.values()), default=1.0) if default is not None else 1.0
        tried, failed = len(self.answers.tried), len(self.answers.failed)
        self.progress(Progress(phase, tried, failed, best, self.clock() - self.begun))


def _other_values(axis: Axis, config: KernelConfig) -> list[Choice]:
    own = value_of(config, axis.field)
    return [((axis.field, value),) for value in axis.values if value != own]
