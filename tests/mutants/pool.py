"""Mutants in parallel, each in a process that may crash or hang; the processes share one import of torch and triton."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory

from tests.mutants import child
from tests.mutants.child import Trial, Verdict
from tests.mutants.mutant import Mutant
from tests.mutants.specs import SUBJECTS, Subject

_IMPORTED = ["torch", "torch._dynamo", "triton", "triton.language", "triton.runtime.interpreter", "jinja2", "lark"]
_IMPORTED += ["sympy", "tests.mutants.child"]


@dataclass(frozen=True)
class Outcome:
    """A mutant, what became of it, and in how many seconds."""

    mutant: Mutant
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class _Running:
    mutant: Mutant
    process: BaseProcess
    begun: float


def run_trials(
    trials: Sequence[Trial], *, jobs: int, done: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Run trials, ``jobs`` at a time; ``done`` is told as they end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    waiting = list(reversed(trials))
    running: dict[Connection, _Running] = {}
    outcomes = []
    while waiting or running:
        while waiting and len(running) < jobs:
            trial = waiting.pop()
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=child.run, args=(trial, theirs), daemon=True)
            process.start()
            theirs.close()
            running[ours] = _Running(trial.mutant, process, time.monotonic())
        wait(list(running), timeout=1.0)
        for answer, entry in list(running.items()):
            verdict = _verdict(answer, entry)
            if verdict is not None:
                del running[answer]
                outcomes.append(Outcome(entry.mutant, verdict, time.monotonic() - entry.begun))
                done(outcomes[-1])
    return outcomes


def _verdict(answer: Connection, entry: _Running) -> Verdict | None:
    """The verdict, once there is one; a process that dies has shown its fault."""
    if not answer.poll():
        return None
    try:
        verdict: Verdict = answer.recv()
    except EOFError:
        entry.process.join()
        code = -(entry.process.exitcode or 0)
        ended = code in (signal.SIGXCPU, signal.SIGKILL)
        verdict = Verdict("killed", "no end" if ended else f"crash ({signal.Signals(code).name if code > 0 else code})")
    entry.process.join()
    answer.close()
    return verdict


@contextmanager
def unchanged_modules(subjects: tuple[Subject, ...] = SUBJECTS) -> Iterator[str]:
    """A folder of the modules that are generated without any fault, for children to compare theirs with."""
    with TemporaryDirectory(prefix="gsa_unchanged_") as folder:
        for subject in subjects:
            for backend in ("torch", "interpret"):
                text = child.generate(subject, backend)
                child.module_path(folder, subject, backend).write_text(text, encoding="utf-8")
        yield folder
