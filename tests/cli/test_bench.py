"""``gsa bench``: what it refuses, what it shows, what it writes; measured on the CPU with times that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gsa_dsl.bench.check import WrongResult, checked
from gsa_dsl.bench.records import Checked, append, read
from gsa_dsl.cli import bench as command
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.testing.inputs import Inputs
from tests.bench.fakes import place, records
from tests.cli.running import Gsa

SMALL = ("--heads", "4", "--kv-heads", "2", "--head-dim", "16", "--lengths", "32", "--rivals", "flash")


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that can measure: floors are taken of small tensors, times are made up."""
    monkeypatch.setattr(command, "here", place)
    monkeypatch.setattr("gsa_dsl.bench.floors.SIDE", 16)
    monkeypatch.setattr("gsa_dsl.bench.floors.COPIED", 16)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    for record in records():
        append(path, record)
    return path


def test_help_has_examples(gsa: Gsa) -> None:
    ran = gsa("bench", "--help")
    assert ran.status == 0
    assert "gsa bench --from results.jsonl --plots docs/assets --markdown docs/results.md" in ran.out


def test_without_a_gpu_it_says_what_can_be_done(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = gsa("bench", "good.gsa", "--out", "rows.jsonl")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "gsa: error: benchmarks measure on a GPU, and there is no CUDA device here; "
        "--from FILE shows and draws what was measured elsewhere\n"
    )
    assert not Path("rows.jsonl").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "name a spec to measure, or rows measured before with --from"),
        (("good.gsa", "--from", "rows.jsonl"), "--from measures nothing; leave out the specs and --out"),
        (("--from", "rows.jsonl", "--out", "more.jsonl"), "--from measures nothing"),
        (("good.gsa", "--markdown", "page.md"), "say with --plots DIR where to draw them"),
        (("--from", "missing.jsonl"), "cannot read missing.jsonl: No such file or directory"),
        (("--from", "good.gsa"), "these are no rows of gsa bench: good.gsa:1: "),
        (("missing.gsa",), "cannot read missing.gsa"),
        (("good.gsa", "--heads", "6", "--kv-heads", "4"), "--kv-heads 4 does not divide --heads 6"),
        (("good.gsa", "--out", "good.gsa/rows.jsonl"), "cannot write good.gsa/rows.jsonl"),
        (("good.gsa", "--overlaps", "1.5"), "expected a number from 0 to 1, got 1.5"),
        (("good.gsa", "--lengths", "0"), "expected at least 1"),
        (("good.gsa", "--rivals", "fast"), "invalid choice: 'fast'"),
    ],
)
@pytest.mark.usefixtures("measuring")
def test_misuse(gsa: Gsa, argv: tuple[str, ...], said: str) -> None:
    ran = gsa("bench", *argv)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.usefixtures("measuring")
def test_plots_without_matplotlib(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = gsa("bench", "good.gsa", "--plots", "plots")
    assert ran.status == 2
    assert "pip install 'gsa-dsl[bench]'" in ran.err


@pytest.mark.usefixtures("measuring")
def test_a_wrong_spec_is_found_before_anything_is_measured(gsa: Gsa) -> None:
    ran = gsa("bench", "good.gsa", "wrong.gsa", *SMALL)
    assert (ran.status, ran.out) == (1, "")
    assert "did you mean 'sigmoid'?" in ran.err


@pytest.mark.usefixtures("measuring")
def test_rows_are_shown_and_written(gsa: Gsa) -> None:
    ran = gsa("bench", "good.gsa", "-p", "k=4", *SMALL, "--out", "made/rows.jsonl")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("good (k = 4), heads 4/2 x 16 at 32 tokens, 4 keys a query\n")
    assert "SDPA flash  dense causal" in ran.out
    assert "forward: other 1.00\n" in ran.out
    assert "of the matmul floor" in ran.out
    assert "checked: 16 queries, errors up to " in ran.out
    (row,) = read([Path("made/rows.jsonl")])
    assert row.command == f"gsa bench good.gsa -p k=4 {' '.join(SMALL)} --out made/rows.jsonl"
    assert row.rivals[0].times["training"].ms == 2.0


@pytest.mark.usefixtures("measuring")
def test_one_document_for_machines(gsa: Gsa) -> None:
    ran = gsa("bench", "examples/gsa.gsa", "-p", "k_base=8", "-p", "k_min=4", *SMALL, "--forward-only", "--json")
    assert ran.status == 0
    assert ran.json["ok"] is True
    assert [row["case"]["overlap"] for row in ran.json["rows"]] == [0.0, 0.8, 0.93]
    assert all(set(row["times"]) == {"forward"} for row in ran.json["rows"])
    assert (ran.json["fits"], ran.json["plots"]) == ([], [])


@pytest.mark.usefixtures("measuring")
def test_a_wrong_result_is_an_error_and_the_next_row_is_measured(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(attention: CompiledAttention, inputs: Inputs, gradients: None) -> Checked:
        if inputs.query.shape[2] == 32:
            raise WrongResult("output of query 3 is off by 1, 0.1 is allowed")
        return checked(attention, inputs, gradients)

    monkeypatch.setattr("gsa_dsl.bench.run.checked", wrong)
    ran = gsa("bench", "good.gsa", *SMALL, "--lengths", "32", "48", "--forward-only", "--out", "rows.jsonl")
    assert ran.status == 1
    assert "at 32 tokens: wrong: output of query 3 is off by 1, 0.1 is allowed\n" in ran.err
    assert ran.out.startswith("good (k = 8), heads 4/2 x 16 at 48 tokens")
    first, second = read([Path("rows.jsonl")])
    assert first.times == {}
    assert second.failure is None


def test_rows_are_drawn_without_a_gpu(gsa: Gsa, measured: Path) -> None:
    argv = ("--from", measured.name, "--plots", "docs/assets", "--markdown", "docs/results.md", "--heading", "H100")
    ran = gsa("bench", *argv)
    assert ran.status == 0
    assert "out of memory (times, training): tried to allocate 32 GiB" in ran.err
    assert "attention takes" in ran.out
    lines = ran.out.splitlines()
    assert lines[-3:] == [
        "docs/assets/gsa_64x4x128_scaling.svg",
        "docs/assets/gsa_64x4x128_roofline.svg",
        "docs/results.md",
    ]
    text = Path("docs/results.md").read_text(encoding="utf-8")
    assert text.startswith("# H100\n")
    assert f"\ngsa bench {' '.join(argv)}\n" in text
    assert "(assets/gsa_64x4x128_scaling.svg)" in text
    for link in ("gsa_64x4x128_scaling.svg", "gsa_64x4x128_roofline.svg"):
        assert (Path("docs/assets") / link).read_text(encoding="utf-8").startswith("<?xml")
    data = gsa("bench", *argv, "--json").json
    assert len(data["rows"]) == 10
    assert len(data["fits"]) == 6
    assert json.dumps(data["plots"]) == json.dumps(lines[-3:-1])
