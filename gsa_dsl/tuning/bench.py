"""The machine as the search sees it: a crew of children that compile, one that checks and proves, a child for times.

Checks run side by side, times are taken while nothing else runs on the GPU; during both what is next is compiled, into
the cache on disk that all children share. What was measured is written down at once, so that a search that was
interrupted goes on where it was.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.children import COMPILER, GPU_BENCH, Child, Crew
from gsa_dsl.tuning.job import Failure, Job, Outcome, Timing, outcome_from_json, outcome_to_json
from gsa_dsl.tuning.space import config_from_json, config_to_json

NOTHING_SAID = ("no time", "not started")
"""Kinds of failures that say nothing of a configuration."""
PATIENCE = 60.0
"""Seconds after which a child that checks and says nothing is taken to hang: much is compiled on a busy machine."""
PARTS = 2
"""How many children share the kernels of a configuration."""
EACH = 2
"""Requests for each child where a wave is small: a kernel takes from a tenth of a second to some, whoever is done
takes the next.
"""
CHECKERS = 3
"""Children that check and prove, at most: what they run is short, and each holds the default's results on the GPU."""
RUNNING = 300.0
"""The same of the child that takes times, whose requests are many runs, at great length."""


def parted(children: int) -> tuple[int, int]:
    """How many of so many children compile, and how many check; at least one each."""
    checkers = max(1, min(CHECKERS, children // 4))
    return max(1, children - checkers), checkers


class ChildBench:
    """:class:`gsa_dsl.tuning.search.Bench` by child processes; ``close`` ends them."""

    def __init__(self, job: Job, children: int, runner: str = GPU_BENCH, patience: float = PATIENCE) -> None:
        compilers, checkers = parted(children)
        compiler = COMPILER if runner == GPU_BENCH and job.capability else runner
        self._compilers = Crew([Child(job, compiler) for _ in range(compilers)])
        # A launch that fails is then the launch that says so.
        blocking = {"CUDA_LAUNCH_BLOCKING": "1"}
        self._checkers = Crew([Child(job, runner, blocking) for _ in range(checkers)])
        self._timer = Child(job, runner)
        self._patience = patience
        # The compilers are asked in the one and the timer in the other, or while that is over: never from two threads.
        self._compiling, self._making = _Background(), _Background()
        self._compiled: dict[KernelConfig, Failure | None] = {}

    def ready(self, until: float) -> None:
        ready = {"do": "ready"}
        self._compiling.begin(lambda: self._compilers.ask_all([ready] * len(self._compilers), until, math.inf))
        self._making.begin(lambda: self._timer.ask(ready, until))
        self._checkers.ask_all([ready] * len(self._checkers), until, math.inf)
        self._compiling.over(until)
        self._making.over(until)

    def prepare(self, base: KernelConfig, until: float) -> None:
        self.compile([base], until)

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        new = [config for config in configs if config not in self._compiled]
        self._compiling.begin(lambda: self._compile(new, math.inf))

    def compile(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        if not self._compiling.over(until):
            return [Failure("no time", "still compiling") for _ in configs]
        self._compile([config for config in configs if config not in self._compiled], until)
        unknown = Failure("no time", "not compiled")
        return [self._compiled.get(config, unknown) for config in configs]

    def _compile(self, configs: Sequence[KernelConfig], until: float) -> None:
        """The kernels of each by several children; what is learned of failures, :meth:`compile` tells."""
        crew = len(self._compilers)
        parts = max(min(PARTS, crew), EACH * crew // max(len(configs), 1))
        pairs = [(config, part) for config in configs for part in range(parts)]
        requests = [
            {"do": "compile", "config": config_to_json(config), "part": part, "parts": parts} for config, part in pairs
        ]
        answers: dict[KernelConfig, list[Failure]] = {config: [] for config in configs}
        for (config, _), answer in zip(pairs, self._compilers.ask_all(requests, until, self._patience), strict=True):
            if isinstance(answer, Failure) and answer.kind != "not started":
                answers[config].append(answer)
        for config, failures in answers.items():
            said = [why for why in failures if why.kind != "no time"]
            if said or not failures:
                self._compiled[config] = said[0] if said else None

    def inputs_ahead(self, length: int) -> None:
        self._making.begin(lambda: self._timer.ask({"do": "inputs", "length": length}, math.inf, RUNNING))

    def inputs(self, length: int, until: float) -> None:
        self._making.over(until)

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        return self._hold("check", configs, until)

    def prove(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        return self._hold("prove", configs, until)

    def _hold(self, what: str, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        requests = [{"do": what, "config": config_to_json(config)} for config in configs]
        answers = self._checkers.ask_all(requests, until, self._patience)
        return [answer if isinstance(answer, Failure) else None for answer in answers]

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, until: float, *, kernels: bool
    ) -> list[Outcome]:
        """All in one request; if that fails, each by itself, so that one failure is one configuration's."""
        # What goes on a little longer must not be cut off.
        seconds = 0.8 * max(until - time.monotonic(), 0.0)
        request = {
            "do": "time",
            "configs": [config_to_json(config) for config in configs],
            "length": length,
            "repeats": repeats,
            "seconds": seconds,
            "kernels": kernels,
        }
        answer = self._ask(request, until)
        if not isinstance(answer, Failure):
            return [Timing(**timing) for timing in answer["timings"]]
        if len(configs) == 1 or answer.kind == "no time":
            return [answer] * len(configs)
        return [self.time([config], length, repeats, until, kernels=kernels)[0] for config in configs]

    def overlap(self, length: int, until: float) -> float | None:
        """How alike neighbouring queries choose at ``length``; None where nothing is chosen or there was no answer."""
        answer = self._ask({"do": "overlap", "length": length}, until)
        return None if isinstance(answer, Failure) else answer["overlap"]

    def close(self) -> None:
        self._compilers.close()
        self._checkers.close()
        self._timer.close()

    def _ask(self, request: Mapping[str, Any], until: float) -> dict[str, Any] | Failure:
        if not self._making.over(until):
            return Failure("no time", "still making inputs")
        return self._timer.ask(request, until, RUNNING)


class _Background:
    """One thing at a time that goes on while its caller does something else."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def begin(self, task: Callable[[], object]) -> None:
        """Unless something is still going on."""
        if self.over(0.0):
            self._thread = threading.Thread(target=task, daemon=True)
            self._thread.start()

    def over(self, until: float) -> bool:
        """Whether it is finished, at the latest at the monotonic time ``until``; an interruption passes through."""
        while self._thread is not None and self._thread.is_alive():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._thread.join(min(left, 0.1))
        return True


class Journal:
    """What was measured for one key, a line each; a line that was cut off is as if it had not been written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures: dict[KernelConfig, Failure] = {}
        self.timings: dict[tuple[KernelConfig, int], Timing] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            data = json.loads(line)
            config, outcome = config_from_json(data["config"]), outcome_from_json(data)
        except (ValueError, TypeError, KeyError):
            return
        if isinstance(outcome, Failure):
            self.failures[config] = outcome
        else:
            self.timings[config, data["length"]] = outcome

    def write(self, config: KernelConfig, length: int, outcome: Outcome) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"config": config_to_json(config), "length": length, **outcome_to_json(outcome)})
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


class RememberingBench:
    """A bench that asks another only for what its journal does not hold; comparisons and proofs are made anew."""

    def __init__(self, bench: ChildBench, journal: Journal) -> None:
        self._bench, self._journal = bench, journal
        self._good = {config for config, _ in journal.timings}

    def ready(self, until: float) -> None:
        self._bench.ready(until)

    def prepare(self, base: KernelConfig, until: float) -> None:
        # Also where its times are known: inputs are made with it.
        self._bench.prepare(base, until)

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        new = self._unknown(configs, but=self._good)
        if new:
            self._bench.compile_ahead(new)

    def compile(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        new = self._unknown(configs, but=self._good)
        return self._noted(configs, new, self._bench.compile(new, until) if new else ())

    def inputs_ahead(self, length: int) -> None:
        self._bench.inputs_ahead(length)

    def inputs(self, length: int, until: float) -> None:
        self._bench.inputs(length, until)

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        new = self._unknown(configs, but=self._good)
        return self._noted(configs, new, self._bench.check(new, until) if new else ())

    def prove(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        new = self._unknown(configs)
        return self._noted(configs, new, self._bench.prove(new, until) if new else ())

    def _unknown(self, configs: Sequence[KernelConfig], but: Container[KernelConfig] = ()) -> list[KernelConfig]:
        """Those of which no failure is known, without those of ``but``."""
        return [config for config in configs if config not in self._journal.failures and config not in but]

    def _noted(
        self, configs: Sequence[KernelConfig], new: Sequence[KernelConfig], answers: Sequence[Failure | None]
    ) -> list[Failure | None]:
        """What is known of each, the answers for those that are ``new`` among it; new failures are written down."""
        found: dict[KernelConfig, Failure | None] = dict(zip(new, answers, strict=True))
        for config, why in found.items():
            if why is not None:
                self._note(config, 0, why)
        return [found.get(config, self._journal.failures.get(config)) for config in configs]

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, until: float, *, kernels: bool
    ) -> list[Outcome]:
        known = {config: self._journal.timings.get((config, length)) for config in configs} if kernels else {}
        new = [config for config in configs if known.get(config) is None]
        measured = self._bench.time(new, length, repeats, until, kernels=kernels) if new else []
        outcomes: dict[KernelConfig, Outcome] = dict(zip(new, measured, strict=True))
        for config, outcome in outcomes.items():
            if kernels or isinstance(outcome, Failure):
                self._note(config, length, outcome)
        return [known.get(config) or outcomes[config] for config in configs]

    def _note(self, config: KernelConfig, length: int, outcome: Outcome) -> None:
        if not isinstance(outcome, Failure) or outcome.kind not in NOTHING_SAID:
            self._journal.write(config, length, outcome)
