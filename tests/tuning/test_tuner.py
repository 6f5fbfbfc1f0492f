"""Tuning from end to end with real child processes, on the fake machine: hits, budgets, interruption, resumption."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gsa_dsl.tuning import tuner
from gsa_dsl.tuning.found import Progress
from gsa_dsl.tuning.measure import SHORT
from gsa_dsl.tuning.space import space_of
from gsa_dsl.tuning.store import Store
from gsa_dsl.tuning.tuner import Subject, Tuned, TuneReport, rungs
from tests.codegen.generated import ROOT
from tests.tuning.entries import H100

FAKE = "tests.tuning.fakes:FakeRunner"
TEXT = "attention small { causal always last 64 # {accidents}\n}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "tuning" / "store.json", None)


def tune(store: Store, accidents: str = "", **options: object) -> TuneReport:
    subject = Subject(TEXT.replace("{accidents}", accidents), "small.gsa", {}, 64, 4, 128)
    defaults: dict[str, object] = {"lengths": [8192], "budget": 60.0, "checkers": 2}
    return tuner.tune(subject, machine=H100, store=store, runner=FAKE, **(defaults | options))  # type: ignore[arg-type]


def test_a_search_is_stored_and_the_second_time_it_is_a_hit(store: Store) -> None:
    first = tune(store).rows[0]
    assert first.origin == "exhausted"
    assert first.entry is not None
    assert first.entry.gain > 1.1
    assert first.entry.config.block_keys == 128
    assert store.get(first.entry.key) == first.entry
    assert not list(store.path.parent.glob("journal/*"))
    second = tune(store).rows[0]
    assert (second.origin, second.entry) == ("stored", first.entry)
    assert second.seconds < 0.05
    assert tune(store, again=True).rows[0].origin == "exhausted"


def test_the_budget_is_kept_also_when_children_hang(store: Store) -> None:
    begun = time.monotonic()
    row = tune(store, "hang:tile=4 hang:tile=16 hang:backward_keys=32", budget=15.0).rows[0]
    assert time.monotonic() - begun <= 15.0 * 1.1 + 1.0  # the machine may be busy
    assert row.seconds <= 15.0 * 1.1
    assert row.origin == "budget"


def test_accidents_are_reported_and_never_chosen(store: Store) -> None:
    row = tune(store, "exit:tile=16 wrong:tile=4 resources:block_keys=128").rows[0]
    assert row.entry is not None
    assert row.entry.config.block_keys == 64
    assert row.entry.config.tile == 8
    kinds = {why.kind for _, why in row.failures}
    assert kinds == {"crashed", "wrong result", "out of resources"}
    assert row.entry.failed == len(row.failures)


def test_what_misses_the_reference_is_reported_and_never_chosen(store: Store) -> None:
    row = tune(store, "wrong:proof.tile=16 wrong:proof.tile=4").rows[0]
    assert row.entry is not None
    assert row.entry.config.tile == 8
    assert {why.kind for _, why in row.failures} <= {"wrong result"}
    wrong = tune(store, "wrong:proof.tile=8", again=True).rows[0]
    assert wrong.entry is None
    assert [why.kind for _, why in wrong.failures] == ["wrong result"]
    assert wrong.failures[0][0] == wrong.base


def test_a_machine_where_nothing_runs_stores_nothing(store: Store) -> None:
    report = tune(store, "unstartable:now=1", budget=30.0)
    assert report.rows[0].entry is None
    assert not store.path.exists()
    assert "nothing could be measured" in str(report)
    assert "no device" in report.rows[0].failures[0][1].detail


def test_what_was_interrupted_is_kept_and_gone_on_with(store: Store) -> None:
    def stop(length: int, at: Progress) -> None:
        if at.tried >= 6:
            raise KeyboardInterrupt

    report = tune(store, lengths=[8192, 32768], progress=stop)
    (row,) = report.rows
    assert row.origin == "interrupted"
    assert row.entry is not None
    assert store.get(row.entry.key) == row.entry
    (journal,) = store.path.parent.glob("journal/*.jsonl")
    known = journal.read_text().splitlines()
    assert len(known) >= 6
    journal.write_text("\n".join(known) + '\n{"config": {"til')  # as if written when the power failed

    lines: list[int] = []
    resumed = tune(store, progress=lambda *_: lines.append(len(journal.read_text().splitlines())))
    assert resumed.rows[0].origin == "exhausted"
    assert resumed.rows[0].entry is not None
    assert resumed.rows[0].entry.gain >= row.entry.gain
    # The first waves were known: nothing new was written for them.
    assert lines[0] <= len(known) + 2
    assert not journal.exists()


def test_a_report_is_plain_values(store: Store) -> None:
    report = tune(store)
    data = json.loads(json.dumps(report.to_json()))
    assert (data["name"], data["heads"], data["machine"]["gpu"]) == ("small", 64, H100.gpu)
    assert data["rows"][0]["gain"] == pytest.approx(report.rows[0].entry.gain if report.rows[0].entry else 0)
    assert "block_keys=128" in data["rows"][0]["change"]
    assert "block_keys=128" in str(report)
    row: Tuned = replace(report.rows[0], entry=None)
    assert row.to_json()["gain"] is None


@pytest.mark.slow
def test_interpreted_kernels_are_really_measured(store: Store) -> None:
    def stop(length: int, at: Progress) -> None:
        if at.tried:
            raise KeyboardInterrupt

    text = (ROOT / "examples" / "sliding_sink.gsa").read_text(encoding="utf-8")
    subject = Subject(text, "sliding_sink.gsa", {"window": 8, "sinks": 2}, 2, 1, 16, "float32", "interpret")
    report = tuner.tune(
        subject, lengths=[24], machine=H100, store=store, budget=600.0, checkers=1, progress=stop
    )  # fmt: skip
    (row,) = report.rows
    assert (row.origin, row.failures) == ("interrupted", ())
    assert row.entry is not None
    assert row.entry.default["training"] > row.entry.default["forward"] > 0
    (journal,) = store.path.parent.glob("journal/*.jsonl")
    assert '"attend_bwd_key_kernel"' in journal.read_text()


@pytest.mark.parametrize(
    ("length", "expected"),
    [(100, (112,)), (8192, (8192,)), (9000, (8192, 9008)), (32768, (8192, 32768)), (131072, (16384, 131072))],
)
def test_short_lengths_come_first(length: int, expected: tuple[int, ...]) -> None:
    assert rungs(length) == expected


def test_where_long_rows_are_surveyed_the_shorter_length_has_such_rows() -> None:
    assert [rungs(length, 8192) for length in (8192, 16384, 32768)] == [(8192,), (16384,), (16384, 32768)]
    text = (ROOT / "examples" / "gsa.gsa").read_text(encoding="utf-8")
    subject = Subject(text, "gsa.gsa", {}, 64, 4, 128)
    assert tuner.surveyed_from(space_of(subject.plan())) == 8192
    assert tuner.job_of(subject, 0.9, "").long_length > 8192


@pytest.mark.parametrize("name", ["gsa", "dsa", "msa", "sliding_sink"])
def test_kernels_are_compiled_anew_for_no_length(name: str) -> None:
    subject = Subject((ROOT / "examples" / f"{name}.gsa").read_text(encoding="utf-8"), f"{name}.gsa", {}, 64, 4, 128)
    job = tuner.job_of(subject, None, "")
    long_from = tuner.surveyed_from(space_of(subject.plan()))
    lengths = {SHORT, job.check_length, job.long_length}
    lengths |= {rung for length in (777, 8192, 9000, 32768, 100_001) for rung in rungs(length, long_from)}
    assert all(length % 16 == 0 for length in lengths)
