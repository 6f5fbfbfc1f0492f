"""Running the command in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gsa_dsl.cli import main
from tests.cli.running import ROOT, Gsa, Ran


@pytest.fixture
def gsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gsa:
    """``gsa("check", "good.gsa")`` in a folder with the examples and two small specs, one good and one wrong."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "good.gsa").write_text("attention good(k = 8) {\n  causal\n  always last k\n}\n")
    (tmp_path / "wrong.gsa").write_text(
        "attention wrong {\n  causal\n"
        "  gate value = sigmod(linear(x)) per element\n"
        "  gate output = linear(x) + lenght per head\n}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "cache"))

    def run(*argv: str) -> Ran:
        try:
            status = main(argv)
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else 1
        shown = capsys.readouterr()
        return Ran(status, shown.out, shown.err)

    return run
