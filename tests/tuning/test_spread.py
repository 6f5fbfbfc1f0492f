"""Measuring spread over GPUs, by real processes on the fake machine: what dies or hangs costs only itself."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import spread, tuning
from benchmarks.spread import Ended, Spread, Task, gpu_environments
from tests.codegen.generated import ROOT

# Answers with what it was told, after as long as it was told; "die" and "hang" are what they say.
PROGRAM = """
import json, os, sys, time
told = json.loads(sys.stdin.read())
if told["do"] == "die":
    sys.exit("CUDA error: an illegal memory access was encountered")
time.sleep(600 if told["do"] == "hang" else told["sleep"])
print("noise")
print(json.dumps({**told, "gpu": os.environ["CUDA_VISIBLE_DEVICES"]}))
"""


def task(key: str, do: str = "work", sleep: float = 0.0, seconds: float = 1.0, **options: Any) -> Task:
    def request(most: float, before: Any) -> str:
        return json.dumps({"key": key, "do": do, "sleep": sleep, "most": most, "before": before})

    return Task(key, key, (sys.executable, "-c", PROGRAM), seconds, request, **options)


def run(tasks: list[Task], gpus: int = 2, wall: float = 60.0, **known: Any) -> tuple[list[Ended], list[str]]:
    ended: list[Ended] = []
    left = Spread(tasks, gpu_environments(gpus), time.monotonic() + wall, ended.append, known, bool).run()
    return ended, [one.said for one in left]


def test_every_gpu_takes_the_next_of_one_queue() -> None:
    begun = time.monotonic()
    ended, left = run([task("long", sleep=1.5), *(task(f"short {n}", sleep=0.1) for n in range(4))])
    assert time.monotonic() - begun < 10
    assert not left
    assert [one.task.key for one in ended][-1] == "long"
    gpus = {one.task.key: one.result["gpu"] for one in ended}
    assert len({gpus[f"short {n}"] for n in range(4)} - {gpus["long"]}) == 1
    assert all(gpus[one.task.key] == str(one.slot) for one in ended)
    assert all(0 < one.result["most"] <= 60 for one in ended)


def test_a_process_that_dies_loses_only_its_own() -> None:
    ended, left = run(
        [task("bad", "die"), task("good"), task("after bad", after="bad"), task("after good", after="good")]
    )
    results = {one.task.key: one.result for one in ended}
    assert results["bad"] is None
    assert results["good"]["key"] == "good"
    assert results["after good"]["before"] == results["good"]
    assert left == ["after bad"]
    (why,) = (one.why for one in ended if one.result is None)
    assert why == "the process died (1): CUDA error: an illegal memory access was encountered"


def test_a_gpu_on_which_nothing_works_does_not_eat_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAM.replace('told["do"] == "die"', 'os.environ["CUDA_VISIBLE_DEVICES"] == "1"')
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", program)
    ended, left = run([task(f"{n}", sleep=0.3) for n in range(8)])
    assert [one.slot for one in ended if one.result is None] == [1, 1]
    assert len([one for one in ended if one.result is not None]) == 6
    assert not left


def test_the_wall_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "GRACE", 0.5)
    begun = time.monotonic()
    ended, left = run([task("hung", "hang"), task("fits", seconds=2.0), task("too long", seconds=9.0)], wall=3.0)
    assert time.monotonic() - begun < 6
    assert {one.task.key: one.result is None for one in ended} == {"fits": False, "hung": True}
    assert "it did not end within" in next(one.why for one in ended if one.task.key == "hung")
    assert left == ["too long"]


def test_a_task_may_have_less_time_than_there_is() -> None:
    (ended,), _ = run([task("one", seconds=99.0, most=5.0)], wall=20.0)
    assert ended.result["most"] == 5.0
    ended_before, left = run([task("sweep", after="search")], search={"best": 1})
    assert ended_before[0].result["before"] == {"best": 1}
    assert not left


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_environments(2) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in gpu_environments(2)] == ["3", "5"]


FAKE = ("--runner", "tests.tuning.fakes:FakeRunner", "--checkers", "1", "--gpus", "2", "--budget", "20")
WIDE = "attention wide { causal always last 64 }\n"


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wide.gsa").write_text(WIDE)
    (tmp_path / "slow.gsa").write_text(WIDE.replace("wide", "slow") + "# nap:time\n")
    (tmp_path / "broken.gsa").write_text(WIDE.replace("wide", "broken") + "# unstartable:now=1\n")
    monkeypatch.chdir(ROOT)
    return tmp_path


def bench(specs: Path, *options: str, names: tuple[str, ...] = ("wide",)) -> int:
    files = [str(specs / f"{name}.gsa") for name in names]
    return tuning.main([*files, "--lengths", "8192", "--out", str(specs / "out.jsonl"), *FAKE, *options])


def lines(specs: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (specs / "out.jsonl").read_text().splitlines()]


def test_a_search_and_then_a_sweep(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench(specs, "--sweep", "half") == 0
    search, sweep = lines(specs)
    assert search["entry"]["config"]["block_keys"] == 128
    assert search["seconds"] <= 20
    assert (sweep["sweep"]["of"], sweep["sweep"]["finished"], len(sweep["together"])) == ("half", True, 3)
    assert sweep["together"][1] == search["together"][1]
    said = capfd.readouterr().out.splitlines()
    assert "1 of 2, GPU " in said[0]
    assert "wide L=8192: " in said[0]
    assert "wide L=8192, sweep of half: " in said[1]
    assert "x the sweep's best" in said[1]
    # It is gone on with where it was: nothing is left, but for a sweep of another kind, and a line that was cut off.
    text = (specs / "out.jsonl").read_text()
    assert bench(specs, "--sweep", "half") == 0
    assert (specs / "out.jsonl").read_text() == text
    (specs / "out.jsonl").write_text(text.splitlines()[0] + '\n{"case": {"sp\n')
    assert bench(specs, "--sweep-all", "wide@8192") == 0
    assert json.loads((specs / "out.jsonl").read_text().splitlines()[-1])["sweep"]["of"] == "all"


def test_what_cannot_be_measured_is_reported_and_tried_again(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench(specs, "--sweep", "half", names=("broken", "wide")) == 1
    found = {(line["case"]["spec"], "sweep" in line): line for line in lines(specs)}
    assert found["broken", False]["entry"] is None
    assert found["wide", True]["sweep"]["finished"]
    assert ("broken", True) not in found
    said = capfd.readouterr().out
    assert "broken L=8192: nothing could be measured: RuntimeError: no device" in said
    assert "not begun, 1: broken L=8192, sweep of half" in said


def test_a_sweep_that_is_cut_off_is_unfinished_and_begun_again(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench(specs, names=("slow",)) == 0
    assert bench(specs, "--sweep", "all", "--sweep-seconds", "3", names=("slow",)) == 0
    cut = lines(specs)[-1]
    assert not cut["sweep"]["finished"]
    assert 0 < cut["sweep"]["tried"] < cut["sweep"]["choices"]
    assert len(cut["together"] or ("", "")) == 2
    assert "unfinished after " in capfd.readouterr().out
    assert bench(specs, "--sweep", "all", names=("slow",)) == 0
    assert lines(specs)[-1]["sweep"]["finished"]


def test_nothing_is_begun_that_does_not_fit(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench(specs, "--wall", "10") == 0
    assert not (specs / "out.jsonl").exists()
    assert "not begun, 1: wide L=8192; the same command goes on from here" in capfd.readouterr().out


def test_the_plan_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("gsa", "sliding_sink")
    files = [str(ROOT / "examples" / f"{name}.gsa") for name in names]
    options = (
        "--lengths",
        "8192",
        "32768",
        "--sweep",
        "half",
        "--sweep-all",
        "gsa@32768",
        "--gpus",
        "4",
        "--checkers",
        "3",
        "--plan",
    )
    assert tuning.main([*files, *options, "--out", os.devnull]) == 0
    *planned, total = capsys.readouterr().out.splitlines()
    kinds = [line.split()[2] for line in planned]
    assert kinds == ["search"] * 6 + ["all"] * 2 + ["half"] * 4
    assert "gsa L=8192 overlap 0: " in planned[0]
    assert "sliding_sink L=32768" in planned[8]  # of the lengths of which one is swept whole
    assert total.startswith("12 jobs, ")
    assert " with 4, each with 3 child processes; " in total


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_loss_and_no_result(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert tuning.main([str(specs / "wide.gsa"), "--lengths", "8192", "--out", str(specs / "o"), "--gpus", "1"]) == 1
    assert not (specs / "o").exists()
    assert "wide L=8192: lost after " in (said := capfd.readouterr().out)
    assert "RuntimeError: there is no CUDA device" in said
