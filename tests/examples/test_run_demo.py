"""The demo: it runs, and it fails when there is something to fail for."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from gsa_dsl.testing.report import Case, Row, VerifyReport

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "run_demo.py"
GOOD = VerifyReport(
    "gsa", "interpret", "cpu", "float32", 0, (Row(Case(1, 8, 4, 2, 16, 16, "normal", "sparse"), "output", 0, 1, True),)
)
BAD = dataclasses.replace(GOOD, rows=(dataclasses.replace(GOOD.rows[0], error=2.0, ok=False),))
FALLING, FLAT = [5.0] * 10 + [2.0] * 10, [5.0] * 20


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_demo", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(
    demo: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    report: VerifyReport,
    losses: list[float],
    *argv: str,
) -> int:
    """The demo's exit status with this outcome of verification and training."""

    def verify(*args: Any, **options: Any) -> VerifyReport:
        return report

    def train(*args: Any, **options: Any) -> list[float]:
        return losses

    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(demo, "verify", verify)
    monkeypatch.setattr(demo, "train", train)
    status: int = demo.main(["--steps", "20", *argv])
    return status


@pytest.mark.slow
def test_it_verifies_and_learns(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GSA_DSL_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "--json", "--steps", "20"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    shown = json.loads(result.stdout)
    assert shown["verified"] is True
    assert shown["last_loss"] < 0.9 * shown["first_loss"]
    assert Path(shown["path"]).is_relative_to(tmp_path)
    assert "def attention(" in Path(shown["path"]).read_text()


def test_it_ends_with_what_it_found(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(demo, monkeypatch, tmp_path, GOOD, FALLING) == 0
    path, loss, verdict = capsys.readouterr().out.splitlines()[-3:]
    assert str(tmp_path) in path
    assert "5.000 at first, 2.000 at last" in loss
    assert verdict.endswith("verified")


def test_kernels_that_do_not_verify_are_a_failure(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(demo, monkeypatch, tmp_path, BAD, FALLING) == 1
    assert "NOT VERIFIED" in capsys.readouterr().out


def test_a_model_that_does_not_learn_is_a_failure(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(demo, monkeypatch, tmp_path, GOOD, FLAT) == 1
    assert "it did not fall" in capsys.readouterr().out


def test_json_is_all_there_is(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(demo, monkeypatch, tmp_path, BAD, FALLING, "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["verified"], shown["first_loss"], shown["last_loss"]) == (False, 5.0, 2.0)


def test_too_few_steps_are_misuse(demo: ModuleType) -> None:
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--steps", "3"])
    assert stopped.value.code == 2


def test_the_text_is_real_and_its_batches_repeat(demo: ModuleType) -> None:
    corpus = demo.read_corpus(200_000)
    assert bytes(corpus[:5000].tolist()).decode("utf-8").count("import ") > 1
    first, again, other = (next(demo.batches(corpus, 3, seed)) for seed in (7, 7, 8))
    assert first.shape == (3, demo.CONTEXT + 1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
