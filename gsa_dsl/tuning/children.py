"""The parent's side of the child processes: ask one, survive its death or its silence, put another in its place."""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gsa_dsl.tuning.job import Failure, Job

GPU_BENCH, COMPILER = "gsa_dsl.tuning.measure:Bench", "gsa_dsl.tuning.compiling:Compiler"
STARTING = 120.0
"""Seconds for a child to import torch and to have the GPU ready; a busy machine takes its time."""


class Child:
    """One measuring process, started at the first question and again after it died; not for several threads."""

    def __init__(self, job: Job, runner: str = GPU_BENCH, environment: Mapping[str, str] | None = None) -> None:
        self._job, self._runner = job, runner
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._said: Any = None
        self._buffer = b""

    def ask(self, request: Mapping[str, Any], until: float, patience: float = math.inf) -> dict[str, Any] | Failure:
        """The child's answer, or a Failure: it fails, dies, or takes more than ``patience`` seconds once it has begun.

        At the monotonic time ``until`` there is no time left, which says nothing of the request.
        """
        if self._process is None:
            started = self._start(until)
            if isinstance(started, Failure):
                return started
        return self._exchange(request, until, patience)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is None:
            return
        process, self._process = self._process, None
        # Its own session: what it started (assemblers) goes with it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            # What was still to be written concerns nobody any more.
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._said.close()

    def _start(self, until: float) -> Failure | None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gsa_dsl.tuning.worker", self._runner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=self._environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
        )
        answer = self._exchange(self._job.to_json(), until, STARTING)
        if isinstance(answer, Failure):
            self.close()
            return answer if answer.kind == "no time" else Failure("not started", answer.detail)
        return None

    def _exchange(self, request: Mapping[str, Any], until: float, patience: float) -> dict[str, Any] | Failure:
        limit = min(until, time.monotonic() + patience)
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = self._line(limit)
        except (BrokenPipeError, EOFError, ValueError):
            # ValueError: another thread closed the child, and its pipes.
            return self._died(process)
        except TimeoutError:
            self.close()
            return (
                Failure("no time", "not finished") if limit >= until else Failure("hung", f"silent for {patience:g} s")
            )
        answer: dict[str, Any] = json.loads(line)
        if "failure" not in answer:
            return answer
        failure = Failure(**answer["failure"])
        if failure.kind == "error":
            # After an error of the device every later launch fails too: that must not be held against others.
            self.close()
        return failure

    def _line(self, until: float) -> bytes:
        """The next line; raises EOFError when there will be none, TimeoutError when it takes too long."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(until - time.monotonic(), 0)):
                    raise TimeoutError
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise EOFError
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self, process: subprocess.Popen[bytes]) -> Failure:
        if self._process is None:
            return Failure("no time", "stopped")
        status = process.wait()
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        self.close()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return Failure("crashed", f"the process died ({how}){': ' + lines[-1][:200] if lines else ''}")


class Crew:
    """Several children that answer many questions at once; each is asked one at a time."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = tuple(children)

    def __len__(self) -> int:
        return len(self._children)

    def ask_all(
        self, requests: Sequence[Mapping[str, Any]], until: float, patience: float
    ) -> list[dict[str, Any] | Failure]:
        """Answers in the order of ``requests``; what is not begun by ``until`` is a Failure of kind 'no time'.

        ``patience`` is that of :meth:`Child.ask`.
        """
        answers: list[dict[str, Any] | Failure] = [Failure("no time", "not begun") for _ in requests]
        waiting = iter(range(len(requests)))
        lock = threading.Lock()

        def work(child: Child) -> None:
            while True:
                with lock:
                    number = next(waiting, None)
                if number is None or time.monotonic() >= until:
                    return
                answers[number] = child.ask(requests[number], until, patience)

        _run_all([lambda child=child: work(child) for child in self._children[: len(requests)]])  # type: ignore[misc]
        return answers

    def close(self) -> None:
        for child in self._children:
            child.close()


def _run_all(tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task in a thread; an interruption of the wait passes through while daemon threads wind down."""
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
