"""What the machine says of configurations, each asked once, and how long it takes to say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Protocol

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import Failure, Outcome, Timing
from gsa_dsl.tuning.pace import CompilePace

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

Why = Mapping[KernelConfig, Failure | None]
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


class Answers:
    """Who failed and why, who was held against what, and the pace of everything that is asked of a bench.

    ``abreast`` configurations are checked side by side.
    """

    def __init__(self, bench: Bench, clock: Callable[[], float], abreast: int) -> None:
        self.bench, self.clock, self.abreast = bench, clock, abreast
        self.checked: set[KernelConfig] = set()  # held against the planner's
        self.proven: set[KernelConfig] = set()  # held against the reference
        self.failed: dict[KernelConfig, Failure] = {}
        self.tried: set[KernelConfig] = set()
        self.compiling: tuple[float, float] | None = None  # since when, and what share of a configuration's kernels
        self.pace = CompilePace()
        self.check_seconds, self.least_check = 0.0, math.inf  # as many as are checked side by side
        self.prove_seconds = 0.0
        self.load_seconds = 0.0  # what timing a configuration takes beside its runs
        self.run_seconds: dict[int, float] = {}  # by length, of a run of both phases

    def measure(self, why: Why, length: int, until: float) -> dict[KernelConfig, Outcome]:
        """Time what passed its check kernel by kernel: at first one, to know the pace, then as many as fit."""
        good = [config for config, one in why.items() if one is None]
        timed: dict[KernelConfig, Outcome] = {}
        while left := [config for config in good if config not in timed]:
            repeats = self.repeats(length)
            room = int((until - self.clock()) / max(self.cost(length, 1, repeats), 1e-9)) if timed else len(left)
            batch = left[: room if length in self.run_seconds else 1]
            if not batch:
                break
            self.bench.inputs(length, until)
            start = self.clock()
            outcomes = self.bench.time(batch, length, repeats, until, kernels=True)
            timed |= zip(batch, outcomes, strict=True)
            self.learn_pace(length, outcomes, repeats, start)
        made = {config: timed.get(config) or one or Failure("no time", "") for config, one in why.items()}
        self.note(made)
        return made

    def note(self, outcomes: Mapping[KernelConfig, Outcome]) -> None:
        """Keep who was tried, and who failed; there being no time says nothing of a configuration."""
        for config, outcome in outcomes.items():
            if isinstance(outcome, Failure) and outcome.kind == "no time":
                continue
            self.tried.add(config)
            if isinstance(outcome, Failure):
                self.failed[config] = outcome

    def repeats(self, length: int) -> int:
        """How often to time a run of that length."""
        return 1 if self.run_seconds.get(length, 0.0) > LONG else REPEATS

    def compile_ahead(self, configs: Sequence[KernelConfig], share: float) -> None:
        """Begin to compile what will be asked for next, ``share`` of the kernels of a configuration in all."""
        self.compiling = self.clock(), share
        self.bench.compile_ahead(configs)

    def compile(self, configs: Sequence[KernelConfig], until: float) -> Why:
        """Why each does not compile or cannot be used; how long compiling takes is learned of the wave begun ahead."""
        start = self.clock()
        why = self._ask(dict.fromkeys(configs), (), self.bench.compile, until)
        if self.compiling is not None:
            begun, share = self.compiling
            self.compiling = None
            # Where it was over before anyone waited, it took no longer.
            self.pace.learn(share, self.clock() - begun, waited=self.clock() - start > WAITED)
        return why

    def check(self, why: Why, until: float) -> Why:
        """``why`` with the reasons of those that the machine finds wrong; asked once a configuration."""
        start, new = self.clock(), self._unasked(why, self.checked)
        why = self._ask(why, self.checked, self.bench.check, until)
        self.checked.update(config for config in new if why[config] is None)
        if new:
            self.check_seconds = (self.clock() - start) / self.rounds(len(new))
            self.least_check = min(self.least_check, self.check_seconds)
        return why

    def prove(self, why: Why, until: float) -> Why:
        """``why`` with the reasons of those that miss the reference; asked once a configuration."""
        start, new = self.clock(), self._unasked(why, self.proven)
        why = self._ask(why, self.proven, self.bench.prove, until)
        self.proven.update(config for config in new if why[config] is None)
        if new:
            self.prove_seconds = (self.clock() - start) / self.rounds(len(new))
        return why

    def proved(self, configs: Sequence[KernelConfig], until: float) -> Why:
        """Compiled, checked and proved: why each cannot be chosen."""
        return self.prove(self.check(self.compile(configs, until), until), until)

    def _unasked(self, why: Why, known: Container[KernelConfig]) -> list[KernelConfig]:
        return [c for c, one in why.items() if one is None and c not in known and c not in self.failed]

    def _ask(
        self,
        why: Why,
        known: Container[KernelConfig],
        ask: Callable[[Sequence[KernelConfig], float], list[Failure | None]],
        until: float,
    ) -> Why:
        """``why`` with what failed before, and the answers for those that nothing is known of."""
        new = self._unasked(why, known)
        answers = dict(zip(new, ask(new, until) if new else (), strict=True))
        self.failed |= {config: one for config, one in answers.items() if one is not None and one.kind != "no time"}
        return {config: one or self.failed.get(config, answers.get(config)) for config, one in why.items()}

    def learn_pace(self, length: int, outcomes: Sequence[Outcome], repeats: int, start: float) -> None:
        """Of timing, begun at ``start``: what a run takes, and what else a configuration does."""
        runs = [sum(one.totals.values()) / 1e3 for one in outcomes if isinstance(one, Timing)]
        cut_off = any(isinstance(one, Failure) and one.kind == "no time" for one in outcomes)
        if runs:
            self.run_seconds[length] = run = sum(runs) / len(runs)
            self.load_seconds = max((self.clock() - start) / len(outcomes) - (repeats + 1) * run, 0.0)
        elif cut_off and length not in self.run_seconds:
            # Not even one run was to be had: nothing more is begun there.
            self.run_seconds[length] = math.inf

    def rounds(self, count: int) -> int:
        """How many times so many configurations fill the children that check."""
        return -(-count // self.abreast)

    def checking(self, configs: Sequence[KernelConfig], *, proof: bool = False) -> float:
        """Seconds that checking takes, and proving, of what is put together from kernels that were compiled before."""
        why: Why = dict.fromkeys(configs)
        rounds = self.rounds(len(self._unasked(why, self.checked)))
        proving = self.rounds(len(self._unasked(why, self.proven))) * self.prove_seconds if proof else 0.0
        return (rounds * self.least_check if rounds else 0.0) + proving

    def comparing(self, configs: Sequence[KernelConfig], length: int, *, proof: bool = False) -> float:
        """Seconds that checking, and proving, and one run of each take."""
        return self.checking(configs, proof=proof) + self.cost(length, len(configs), 1)

    def cost(self, length: int, count: int, repeats: int) -> float:
        """Seconds that timing takes; at a length not seen yet, as times are taken to grow."""
        seen = [run * (length / other) ** GROWTH for other, run in self.run_seconds.items()]
        run = self.run_seconds.get(length, min(seen, default=0.0))
        timing = count * (self.load_seconds + (repeats + 1) * run)
        return timing if length in self.run_seconds else timing + SETTING_UP * run
