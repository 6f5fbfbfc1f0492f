"""The tutorial from top to bottom, as a reader would do it: save, type, run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gsa_dsl.cli import main
from tests.docs.snippets import TUTORIAL, blocks


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    done = {"gsa": 0, "console": 0, "python": 0}
    for block in blocks(TUTORIAL):
        done[block.language] += 1
        if block.language == "gsa":
            Path(block.role.removeprefix("file ")).write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * block.line + block.text, TUTORIAL, "exec"), names)
        else:
            _run(block.text, capsys)
    assert min(done.values()) >= 2


def _run(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of a console block prints what is shown; ``...`` stands for any lines."""
    for command, expected in re.findall(r"^\$ gsa ([^\n]*)\n((?:(?!\$ ).*\n)*)", text, re.M):
        capsys.readouterr()
        main(shlex.split(command))
        shown = capsys.readouterr()
        pattern = re.escape(expected).replace(re.escape("...\n"), r"(?:.*\n)*")
        assert re.fullmatch(pattern, shown.out + shown.err), f"$ gsa {command}\n{shown.out}{shown.err}"
