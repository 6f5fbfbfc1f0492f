"""Child processes that die, hang, fail or never start, for real; the parent goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.bench import ChildBench, Journal, RememberingBench, parted
from gsa_dsl.tuning.children import Child, Crew
from gsa_dsl.tuning.job import Failure, Job, Timing
from gsa_dsl.tuning.space import config_to_json
from tests.codegen.generated import ROOT
from tests.tuning.fakes import timing

FAKE = "tests.tuning.fakes:FakeRunner"
GOOD = KernelConfig(tile=4)


def job(spec: str = "") -> Job:
    return Job(spec, "fake", {}, 64, 4, 128, "bfloat16", 0.9, "unused")


def check(config: KernelConfig) -> dict[str, object]:
    return {"do": "check", "config": config_to_json(config)}


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize(
    ("accident", "kind", "detail", "kernel"),
    [
        ("exit", "crashed", "exit status 7.*illegal memory access", None),
        ("resources", "out of resources", "shared memory, Required: 300000", "attend_fwd_kernel"),
        ("wrong", "wrong result", "output off by 0.5 of 0.01", None),
        ("raise", "error", "ValueError: something else", None),
    ],
)
def test_an_accident_is_a_failure_and_the_next_question_is_answered(
    accident: str, kind: str, detail: str, kernel: str | None
) -> None:
    child = Child(job(f"{accident}:tile=16"), FAKE)
    try:
        failure = child.ask(check(KernelConfig(tile=16)), soon())
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.kernel) == (kind, kernel)
        import re

        assert re.search(detail, failure.detail)
        assert child.ask(check(GOOD), soon()) == {"done": True}
    finally:
        child.close()


def test_a_child_that_hangs_is_given_up_and_replaced() -> None:
    child = Child(job("hang:tile=16"), FAKE)
    try:
        assert child.ask(check(GOOD), soon()) == {"done": True}
        begun = time.monotonic()
        assert child.ask(check(KernelConfig(tile=16)), soon(), patience=0.5) == Failure("hung", "silent for 0.5 s")
        assert time.monotonic() - begun < 5
        assert child.ask(check(GOOD), soon()) == {"done": True}
    finally:
        child.close()


def test_a_child_that_cannot_start_says_why() -> None:
    child = Child(job("unstartable:now=1"), FAKE)
    assert child.ask(check(GOOD), soon()) == Failure("not started", "RuntimeError: no device")
    child.close()


def test_a_closed_child_leaves_no_process() -> None:
    child = Child(job("hang:tile=16"), FAKE)
    child.ask(check(GOOD), soon())
    assert child._process is not None
    pid = child._process.pid
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_goes_when_its_parent_does() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "gsa_dsl.tuning.worker", FAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert worker.stdin is not None
    worker.stdin.write(b'{"broken": 1}\n')
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0
    assert worker.stdout is not None
    worker.stdout.close()


def test_a_crew_answers_in_order_and_survives_its_members() -> None:
    crew = Crew([Child(job("exit:tile=16 hang:tile=32"), FAKE) for _ in range(2)])
    try:
        crew.ask_all([check(GOOD)] * 2, soon(), 60.0)
        tiles = (4, 16, 8, 32, 2)
        answers = crew.ask_all([check(KernelConfig(tile=tile)) for tile in tiles], soon(), 3.0)
    finally:
        crew.close()
    kinds = [answer.kind if isinstance(answer, Failure) else "good" for answer in answers]
    assert kinds == ["good", "crashed", "good", "hung", "good"]


def test_what_is_not_begun_in_time_says_so() -> None:
    crew = Crew([Child(job(), FAKE)])
    assert crew.ask_all([check(GOOD)] * 3, time.monotonic() - 1, 1.0) == [Failure("no time", "not begun")] * 3
    crew.close()


def test_times_of_several_configurations_at_once() -> None:
    bench = ChildBench(job(), 1, FAKE)
    try:
        outcomes = bench.time([GOOD, KernelConfig(tile=16)], 8192, 3, soon(), kernels=True)
        assert bench.overlap(8192, soon()) == 0.5
    finally:
        bench.close()
    assert all(isinstance(outcome, Timing) for outcome in outcomes)
    assert outcomes[0] != outcomes[1]


def test_what_comes_next_is_made_ready_in_the_background() -> None:
    bench = ChildBench(job("nap:compile nap:inputs"), 2, FAKE)
    try:
        bench.ready(soon())
        begun = time.monotonic()
        bench.compile_ahead([GOOD, KernelConfig(tile=16)])
        bench.inputs_ahead(8192)
        assert time.monotonic() - begun < 0.3
        # Those that check are others.
        assert bench.check([GOOD], soon()) == [None]
        assert time.monotonic() - begun < 0.6
        assert bench.compile([GOOD], time.monotonic()) == [Failure("no time", "still compiling")]
        assert bench.compile([GOOD], soon()) == [None]
        assert time.monotonic() - begun >= 0.7
        bench.inputs(8192, soon())
        assert isinstance(bench.time([GOOD], 8192, 1, soon(), kernels=False)[0], Timing)
    finally:
        bench.close()


def test_children_that_check_and_those_that_compile() -> None:
    assert [parted(children) for children in (1, 2, 4, 8, 12, 14)] == [(1, 1), (1, 1), (3, 1), (6, 2), (9, 3), (11, 3)]


def test_one_configuration_is_compiled_by_all_and_many_by_few_each() -> None:
    bench = ChildBench(job(), 8, FAKE)
    asked: list[tuple[int, int, int]] = []

    def ask_all(requests: list[dict[str, Any]], *_: object) -> list[dict[str, Any]]:
        asked.extend((request["config"]["tile"], request["part"], request["parts"]) for request in requests)
        return [{"done": True}] * len(requests)

    bench._compilers.ask_all = ask_all  # type: ignore[method-assign, assignment]
    bench.prepare(GOOD, soon())
    assert asked == [(4, part, 12) for part in range(12)]
    asked.clear()
    assert bench.compile([GOOD], soon()) == [None]
    assert not asked  # it is compiled already
    assert bench.compile([KernelConfig(tile=tile) for tile in (1, 2, 8, 16, 32)], soon()) == [None] * 5
    assert asked == [(tile, part, 2) for tile in (1, 2, 8, 16, 32) for part in range(2)]


def test_a_proof_is_asked_for_by_itself() -> None:
    bench = ChildBench(job("wrong:proof.tile=16"), 2, FAKE)
    try:
        assert bench.check([KernelConfig(tile=16), GOOD], soon()) == [None, None]
        why, good = bench.prove([KernelConfig(tile=16), GOOD], soon())
    finally:
        bench.close()
    assert why == Failure("wrong result", "output off by 0.5 of 0.01")
    assert good is None


def test_what_was_not_compiled_in_time_is_compiled_later() -> None:
    bench = ChildBench(job("nap:compile"), 2, FAKE)
    try:
        bench.ready(soon())
        assert bench.compile([GOOD], soon(0.2))[0] == Failure("no time", "not compiled")
        assert bench.compile([GOOD], soon()) == [None]
    finally:
        bench.close()


def test_what_is_remembered_is_not_compiled_or_checked_but_proved(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    bad = KernelConfig(tile=16)
    journal.write(GOOD, 8192, timing(GOOD, 8192, kernels=True))
    journal.write(bad, 0, Failure("hung", "silent"))
    asked: list[tuple[str, KernelConfig]] = []

    class Asked:
        def __getattr__(self, name: str) -> Any:
            def answer(what: Any, *_: object) -> list[None]:
                configs = [what] if isinstance(what, KernelConfig) else what
                asked.extend((name, config) for config in configs)
                return [None] * len(configs)

            return answer

    bench = RememberingBench(Asked(), Journal(journal.path))  # type: ignore[arg-type]
    bench.prepare(GOOD, soon())
    bench.compile_ahead([GOOD, bad])
    assert bench.compile([GOOD, bad], soon()) == [None, Failure("hung", "silent")]
    assert bench.check([GOOD, bad], soon()) == [None, Failure("hung", "silent")]
    assert bench.prove([GOOD, bad], soon()) == [None, Failure("hung", "silent")]
    assert asked == [("prepare", GOOD), ("prove", GOOD)]


def test_a_child_whose_device_may_be_broken_is_replaced() -> None:
    child = Child(job("raise:tile=16 wrong:tile=8"), FAKE)
    try:
        child.ask(check(GOOD), soon())
        first = child._process
        child.ask(check(KernelConfig(tile=8)), soon())
        assert child._process is first
        child.ask(check(KernelConfig(tile=16)), soon())
        assert child.ask(check(GOOD), soon()) == {"done": True}
        assert child._process is not first
    finally:
        child.close()


def test_what_does_not_compile_says_so() -> None:
    bench = ChildBench(job("uncompilable:16.1"), 3, FAKE)
    try:
        why, good = bench.compile([KernelConfig(tile=16), GOOD], soon())
        assert why == Failure("error", "KernelFailure: no such layout", "attend_fwd_kernel")
        assert good is None
    finally:
        bench.close()
