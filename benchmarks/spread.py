"""Tasks over GPUs: a process each, one a GPU at a time, from one queue; what ends badly takes only its task along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

GRACE = 15.0
"""Seconds beyond its time after which a process is ended: it keeps its time by itself unless something hangs."""
UNLUCKY = 2
"""Processes in a row without a result after which a GPU is not used any more."""


@dataclass(frozen=True)
class Task:
    """Something to measure: ``command`` prints its result as the last line, in JSON, within about ``seconds``.

    It begins once a result of ``after`` is there; ``request`` makes the command's standard input from the seconds that
    it has and that result.
    """

    key: Hashable
    said: str
    command: Sequence[str]
    seconds: float
    request: Callable[[float, Any], str]
    most: float = float("inf")
    after: Hashable | None = None


@dataclass(frozen=True)
class Ended:
    """A task's outcome: a result, or why there is none."""

    task: Task
    slot: int
    seconds: float
    result: Any = None
    why: str = ""


class Spread:
    """Tasks, and the environment of each GPU's processes.

    ``until`` is a monotonic time; ``told`` hears of every end, one at a time, while the others go on; ``results`` are
    those known before. Only a result that is ``usable`` lets others begin.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        environments: Sequence[Mapping[str, str]],
        until: float,
        told: Callable[[Ended], None],
        results: Mapping[Hashable, Any],
        usable: Callable[[Any], bool],
    ) -> None:
        self.environments, self.until, self.told, self.usable = environments, until, told, usable
        self.results = dict(results)
        self._left, self._running, self._stopped = list(tasks), 0, False
        self._change = threading.Condition()
        self._processes: set[subprocess.Popen[bytes]] = set()

    def run(self) -> list[Task]:
        """Everything that fits; returns what was not begun."""
        threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(len(self.environments))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
        finally:
            self._stopped = True
            for process in tuple(self._processes):
                _end(process)
        return self._left

    def _work(self, slot: int) -> None:
        unlucky = 0
        while unlucky < UNLUCKY and (task := self._next()) is not None:
            begun = time.monotonic()
            most = min(self.until - begun, task.most)
            result, why = None, ""
            try:
                result = self._measured(task, slot, most)
            except (OSError, RuntimeError, ValueError) as error:
                why = str(error)
            unlucky = 0 if result is not None else unlucky + 1
            with self._change:
                self._running -= 1
                if result is not None and self.usable(result):
                    self.results[task.key] = result
                if not self._stopped:
                    self.told(Ended(task, slot, time.monotonic() - begun, result, why))
                self._change.notify_all()

    def _next(self) -> Task | None:
        """The first task that can begin and fits; waits for those that others may make possible."""
        with self._change:
            while not self._stopped:
                left = self.until - time.monotonic()
                fitting = [task for task in self._left if min(task.seconds, task.most) <= left]
                for task in fitting:
                    if task.after is None or task.after in self.results:
                        self._left.remove(task)
                        self._running += 1
                        return task
                if not fitting or not self._running:
                    return None
                self._change.wait(1.0)
        return None

    def _measured(self, task: Task, slot: int, most: float) -> Any:
        """The result of a process; raises RuntimeError or ValueError if it gives none."""
        environment = {**os.environ, **self.environments[slot]}
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                list(task.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                start_new_session=True,
            )
            self._processes.add(process)
            try:
                text = task.request(most, self.results.get(task.after))
                out, _ = process.communicate(text.encode(), timeout=most + GRACE)
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"it did not end within {most + GRACE:.0f} s") from None
            finally:
                _end(process)
                self._processes.discard(process)
            if process.returncode != 0:
                said.seek(0)
                lines = said.read().decode(errors="replace").strip().splitlines()
                last = f": {lines[-1][:300]}" if lines else ""
                raise RuntimeError(f"the process died ({process.returncode}){last}")
            return json.loads(out.decode().strip().rpartition("\n")[2])


def _end(process: subprocess.Popen[bytes]) -> None:
    # Its own session; what it started in further ones ends with its pipes.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def gpu_environments(count: int) -> list[dict[str, str]]:
    """One GPU each, of those that are visible here."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:count]]
