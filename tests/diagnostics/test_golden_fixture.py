"""The golden fixture itself: exact, explicit about differences, and never updating in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_equal_text_passes(golden: Callable[[Path, str], None], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-goldens"):
        pytest.skip("goldens are being written")
    folder = ROOT / "tests" / "golden" / "diagnostics"
    path = next(iter(sorted(folder.glob("*.txt"))))
    text = path.read_text(encoding="utf-8")
    golden(path, text)
    with pytest.raises(pytest.fail.Exception, match=r"\(golden\)"):
        golden(path, text.replace("error", "eror"))
    with pytest.raises(pytest.fail.Exception, match="line ends"):
        golden(path, text.rstrip("\n"))
    with pytest.raises(pytest.fail.Exception, match="does not exist"):
        golden(folder / "no_such_golden.txt", text)


def test_goldens_are_not_updated_in_ci() -> None:
    command = [sys.executable, "-m", "pytest", "--update-goldens", "--collect-only", "-q", str(Path(__file__))]
    environment = {**os.environ, "CI": "true"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "not updated in CI" in run.stderr
