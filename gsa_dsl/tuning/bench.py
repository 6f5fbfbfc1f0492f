"""The machine as the search sees it: a crew of children that compile and check, one child that takes times.

Checks run side by side, times are taken while nothing else runs on the GPU; meanwhile what is next is compiled. What
was measured is written down at once, so that a search that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.children import GPU_BENCH, Child, Crew
from gsa_dsl.tuning.job import Failure, Job, Outcome, Timing, outcome_from_json, outcome_to_json
from gsa_dsl.tuning.space import config_from_json, config_to_json

NOTHING_SAID = ("no time", "not started")
"""Kinds of failures that say nothing of a configuration."""
PATIENCE = 60.0
"""Seconds after which a child that checks and says nothing is taken to hang: much is compiled on a busy machine."""
PARTS = 4
"""How many children share the kernels of a configuration, to compile them."""
RUNNING = 300.0
"""The same of the child that takes times, whose requests are many runs, at great length."""


class ChildBench:
    """:class:`gsa_dsl.tuning.search.Bench` by child processes; ``close`` ends them."""

    def __init__(self, job: Job, checkers: int, runner: str = GPU_BENCH, patience: float = PATIENCE) -> None:
        # A launch that fails is then the launch that says so.
        blocking = {"CUDA_LAUNCH_BLOCKING": "1"}
        self._crew = Crew([Child(job, runner, blocking) for _ in range(checkers)])
        self._timer = Child(job, runner)
        self._patience = patience
        self._compiling, self._making = _Background(), _Background()
        self._compiled: dict[KernelConfig, Failure | None] = {}

    def ready(self, until: float) -> None:
        self._crew.ask_all([{"do": "ready"}] * len(self._crew), until, math.inf)

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        self._compiling.begin(lambda: self._compile(configs, math.inf))

    def _compile(self, configs: Sequence[KernelConfig], until: float) -> None:
        """Kernel by kernel side by side; what is learned of failures, :meth:`check` tells."""
        parts = min(PARTS, len(self._crew))
        pairs = [(config, part) for config in configs for part in range(parts)]
        requests = [{"do": "compile", "config": config_to_json(c), "part": n, "parts": parts} for c, n in pairs]
        for (config, _), answer in zip(pairs, self._crew.ask_all(requests, until, self._patience), strict=True):
            why = answer if isinstance(answer, Failure) and answer.kind not in NOTHING_SAID else None
            self._compiled[config] = self._compiled.get(config) or why

    def inputs_ahead(self, length: int) -> None:
        self._making.begin(lambda: self._timer.ask({"do": "inputs", "length": length}, math.inf, RUNNING))

    def inputs(self, length: int, until: float) -> None:
        self._making.over(until)

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        if not self._compiling.over(until):
            return [Failure("no time", "still compiling") for _ in configs]
        self._compile([config for config in configs if config not in self._compiled], until)
        known = {config: why for config in configs if (why := self._compiled[config]) is not None}
        new = [config for config in configs if config not in known]
        requests = [{"do": "check", "config": config_to_json(config)} for config in new]
        answers = dict(zip(new, self._crew.ask_all(requests, until, self._patience), strict=True)) | known
        return [answer if isinstance(answer := answers[config], Failure) else None for config in configs]

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
        self._crew.close()
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
    """A bench that asks another only for what its journal does not hold; comparisons are always made anew."""

    def __init__(self, bench: ChildBench, journal: Journal) -> None:
        self._bench, self._journal = bench, journal
        self._good = {config for config, _ in journal.timings}

    def ready(self, until: float) -> None:
        self._bench.ready(until)

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        new = [config for config in configs if config not in self._good and config not in self._journal.failures]
        if new:
            self._bench.compile_ahead(new)

    def inputs_ahead(self, length: int) -> None:
        self._bench.inputs_ahead(length)

    def inputs(self, length: int, until: float) -> None:
        self._bench.inputs(length, until)

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        known: dict[KernelConfig, Failure | None] = {config: None for config in configs if config in self._good}
        known |= {config: self._journal.failures[config] for config in configs if config in self._journal.failures}
        new = [config for config in configs if config not in known]
        for config, why in zip(new, self._bench.check(new, until) if new else (), strict=True):
            known[config] = why
            if why is not None:
                self._note(config, 0, why)
        return [known[config] for config in configs]

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
