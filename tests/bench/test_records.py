"""Records come back from their lines as they were written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gsa_dsl.bench.records import NotRecords, Record, append, read
from tests.bench.fakes import record, records


def test_lines_come_back(tmp_path: Path) -> None:
    path = tmp_path / "made" / "rows.jsonl"
    for one in records():
        append(path, one)
    assert read([path]) == records()


def test_the_last_line_of_a_case_counts(tmp_path: Path) -> None:
    path, other = tmp_path / "rows.jsonl", tmp_path / "more.jsonl"
    again = replace(record(8192), keys=7.0)
    for where, one in ((path, record(8192)), (path, record(32768)), (other, again)):
        append(where, one)
    assert read([path, other]) == [again, record(32768)]


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", '{"schema": 1}', "nonsense", json.dumps(json.loads(record().to_line()) | {"schema": 99})],
)
def test_what_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append(path, record())
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(NotRecords, match=r"rows\.jsonl:2: "):
        read([path])


def test_floors_and_rates() -> None:
    one = record()
    assert one.floors("forward") == pytest.approx((1e12 / 750e12 * 1e3, 8192e6 / 3e12 * 1e3))
    assert one.tflops("forward") == pytest.approx(1e12 / one.times["forward"].ms / 1e9)


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(record(), keys=float("nan")).to_line()


def test_lines_have_every_field() -> None:
    assert set(json.loads(record().to_line())) == {"schema", *Record.__slots__}
