"""Tables, fits, plots and the page, from records that were not measured."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gsa_dsl.bench.fit import fits, line
from gsa_dsl.bench.page import page, table
from gsa_dsl.bench.plots import draw, groups
from gsa_dsl.bench.records import Record, Timed
from gsa_dsl.bench.table import HEADINGS, beside, floor_lines, stage_lines, title
from tests.bench.fakes import SETTING, case, record, records


def test_a_line_is_found_again() -> None:
    start, slope, r2 = line([1, 2, 4, 8], [3 + 2 * x for x in (1, 2, 4, 8)])
    assert (start, slope, r2) == pytest.approx((3, 2, 1))
    assert line([1, 2, 3], [1, 2, 1])[2] == pytest.approx(0.0, abs=1e-12)


def test_attention_that_is_linear_is_found_to_be() -> None:
    found = fits(records())
    assert [(fit.case.overlap, fit.phase) for fit in found] == [
        (overlap, phase) for overlap in (0.0, 0.8, 0.93) for phase in ("forward", "training")
    ]
    for fit in found:
        assert fit.lengths == (8192, 32768, 131072)
        assert fit.exponent == pytest.approx(1.0, abs=0.06)
        assert fit.r2 > 0.999
    assert found[1].b == pytest.approx(3 * found[0].b, rel=1e-6)


def test_attention_that_is_quadratic_is_found_to_be() -> None:
    rows = []
    for one in records()[:9]:
        quadratic = {phase: {"attend_fwd_kernel": (one.case.length / 8192) ** 2} for phase in one.kernels}
        rows.append(replace(one, kernels=quadratic))
    assert all(fit.exponent == pytest.approx(2.0) and fit.r2 < 0.99 for fit in fits(rows))


def test_two_lengths_are_too_few_for_a_fit() -> None:
    assert fits(records()[:6]) == []


def test_a_table_beside_rivals() -> None:
    rows = beside(record(32768))
    assert all(len(row) == len(HEADINGS) for row in rows)
    assert [row[0] for row in rows] == ["gsa_dsl", "SDPA flash", "SDPA cuDNN", "FlexAttention"]
    assert rows[0][3] == "1.00"
    assert float(rows[1][3]) == pytest.approx(3.2 * 16 / record(32768).times["forward"].ms, abs=0.01)
    assert rows[3][1] == "dense causal: NoValidChoicesError: target: flex_attention"
    assert rows[3][2] == ""


def test_lines_of_a_record() -> None:
    one = record()
    assert title(one) == "gsa (k_base = 2048, k_min = 256), heads 64/4 x 128 at 8,192 tokens, overlap 0.93"
    assert stage_lines(one)[0].startswith("forward: scores 0.12, attention ")
    assert floor_lines(one)[0].startswith("forward: ")
    shared = replace(one, overlap=None, shared=128)
    assert title(shared).endswith("at 8,192 tokens, shared by 128 queries")


def test_plots_are_drawings_that_repeat(tmp_path: Path) -> None:
    first, again = draw(records(), tmp_path / "a"), draw(records(), tmp_path / "b")
    assert [path.name for path in first] == ["gsa_64x4x128_scaling.svg", "gsa_64x4x128_roofline.svg"]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
        ElementTree.fromstring(one.read_text(encoding="utf-8"))
    scaling = first[0].read_text(encoding="utf-8")
    for said in ("gsa_dsl, overlap by chance", "gsa_dsl, overlap 0.93", "SDPA cuDNN, dense causal", "128K", "training"):
        assert said in scaling
    assert "<dc:date>" not in scaling
    assert "measured: 750 TFLOP/s, 3.00 TB/s" in first[1].read_text(encoding="utf-8")


def test_forward_alone_is_one_panel(tmp_path: Path) -> None:
    rows = [replace(one, times={"forward": one.times["forward"]}, rivals=()) for one in records()[:9]]
    scaling = draw(rows, tmp_path)[0].read_text(encoding="utf-8")
    assert "forward" in scaling
    assert "training" not in scaling


def test_parameters_and_shapes_are_drawn_apart() -> None:
    other = replace(record(), case=case(params={"k_base": 64}))
    narrow = replace(record(), case=case(head_dim=192))
    assert [name for name, _ in groups([record(), other, narrow, *records()])] == [
        "gsa_64x4x128",
        "gsa_64x4x128_2",
        "gsa_64x4x192-128",
    ]


def test_the_page() -> None:
    text = page(records(), "Results", "gsa bench --from h100.jsonl --plots plots --markdown results.md", "plots")
    assert text.startswith("# Results\n\nNVIDIA H100 (compute capability 9.0, driver 570.1), torch 2.11.0")
    commands = text.split("```")[1].splitlines()[1:]
    assert commands == [
        "gsa bench examples/gsa.gsa --out h100.jsonl",
        "gsa bench --from h100.jsonl --plots plots --markdown results.md",
    ]
    assert "![Time over length](plots/gsa_64x4x128_scaling.svg)" in text
    assert "| tokens | overlap | keys a query | gsa_dsl, ms | SDPA flash, dense causal |" in text
    assert re.search(r"\| 131,072 \| 0\.93 \| 2,032 \| [\d.]+ \| 819 \([\d.]+ x\) \| 461 \(", text)
    assert text.count("R^2 = ") == 6
    assert text.count("FlexAttention, dense causal: NoValidChoicesError") == 3
    assert "at 262,144 tokens: out of memory (times, training): tried to allocate 32 GiB" in text
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in text.splitlines() if row.startswith("| 8,192 | 0.93")}
    assert min(widths) > 5


def test_the_page_says_how_long_launching_took_where_all_times_are_without_it() -> None:
    def launched(times: Mapping[str, Timed]) -> dict[str, Timed]:
        return {phase: replace(timed, host_ms=2.0 * timed.runs) for phase, timed in times.items()}

    watched = [
        replace(one, times=launched(one.times), rivals=tuple(replace(x, times=launched(x.times)) for x in one.rivals))
        for one in records()
    ]
    assert "Launching took 40.0 ms at most" in page(watched, "Results", "", "plots")
    assert "Launching took" not in page([*watched, record(8192, 0.5)], "Results", "", "plots")


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    text = page(records(), "Results", "", "plots")
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1, block


def test_a_page_of_failures_alone() -> None:
    text = page([Record(case(), SETTING, failure="wrong: output")], "Results", "", "plots")
    assert "## What could not be measured" in text
    assert "![" not in text


def test_cells_are_escaped() -> None:
    assert table(["a"], [["x | y"]]) == "| a |\n| --- |\n| x \\| y |\n"
