"""From the lines of a benchmark to the shipped file and the table of the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ship
from benchmarks.tuning_case import halved
from gsa_dsl.tuning.prune import Survivors
from gsa_dsl.tuning.store import parse
from tests.tuning.entries import entry, key
from tests.tuning.fakes import SPACE, everything

ROOT = Path(__file__).resolve().parents[2]


def line(length: int, found: float) -> dict[str, Any]:
    totals = [{"forward": x, "training": 4 * x} for x in (2.0, found)]
    return {
        "case": {"spec": "gsa", "params": {}, "length": length, "overlap": 0.93},
        "machine": {"gpu": "NVIDIA H100", "torch": "2.11", "triton": "3.6.0"},
        "entry": entry(key(length)).to_json(),
        "together": totals,
        "overlap": 0.9275,
        "seconds": 55.4,
    }


def sweep(length: int, found: float, best: float | None) -> dict[str, Any]:
    times = (2.0, found) if best is None else (2.0, found, best)
    return {
        "case": {"spec": "gsa", "params": {}, "length": length, "overlap": 0.93},
        "sweep": {"of": "half", "finished": best is not None},
        "together": [{"forward": x, "training": 4 * x} for x in times],
    }


def test_the_file_and_the_table(tmp_path: Path) -> None:
    results = tmp_path / "found.jsonl"
    lines = [line(32768, 1.9), sweep(32768, 1.9, 1.9), line(8192, 1.0), line(32768, 1.6), sweep(8192, 1.0, 0.96)]
    results.write_text("".join(json.dumps(one) + "\n" for one in lines))
    page = tmp_path / "tuning.md"
    page.write_text(f"before\n{ship.BEGIN}old\n{ship.END}after\n")
    assert ship.main([str(results), "--to", str(tmp_path / "h100.json"), "--docs", str(page)]) == 0
    assert set(parse((tmp_path / "h100.json").read_text()).entries) == {key(8192), key(32768)}
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| `gsa` | 8192 | 0.93 | 2.00 | 1.00 | 8.00 | 4.00 | 2.00 | 0.96 (half) | 55 s |\n" in text
    assert "| `gsa` | 32768 | 0.93 | 2.00 | 1.60 | 8.00 | 6.40 | 1.25 |  | 55 s |\n" in text
    assert "geometric mean of the gains 1.58. Beside a sweep's best, of 1: 0.96 at worst." in text


def test_a_sweep_that_was_cut_off_is_no_result() -> None:
    cut = [line(8192, 1.0), sweep(8192, 1.5, None)]
    table = ship.render(ship.newest(cut))
    assert "| 2.00 | 1.00 | 8.00 | 4.00 | 2.00 | unfinished | 55 s |\n" in table
    assert "at worst" not in table
    # One that was finished, before or after, is what counts.
    for lines in ([*cut, sweep(8192, 1.0, 0.9)], [cut[0], sweep(8192, 1.0, 0.9), cut[1]]):
        assert "0.90 (half)" in ship.render(ship.newest(lines))
    assert "Nothing has been measured" in ship.render(ship.newest([sweep(8192, 1.0, 0.9)]))


def test_the_documentation_has_a_place_for_the_table() -> None:
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    assert "the table" in ship.inserted(text, "the table\n")
    with pytest.raises(ValueError, match="to put the table between"):
        ship.inserted("no markers", "the table\n")


def test_half_of_a_space_keeps_the_planners_choices() -> None:
    every = Survivors(everything(SPACE), ())
    half = halved(every)
    assert 0.3 * every.count < half.count < 0.9 * every.count
    assert half == halved(every)
    assert all(half.kept[slot][0] == choices[0] for slot, choices in every.kept.items())
