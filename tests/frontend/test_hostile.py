"""Whatever a file holds, the front end answers soon, in little memory, and without a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gsa_dsl.diagnostics.codes import CODES
from tests.frontend.hostile import TEXTS

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = {"many_bounds", "many_gates", "parameters_of_each_other", "sums_of_powers"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the front end says of each text, read one after the other in a process of their own."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, text in TEXTS.items():
        (folder / f"{name}.gsa").write_bytes(text)
    command = [sys.executable, "-c", f"from tests.frontend.hostile import main; main({str(folder)!r})"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {answer["name"]: answer for answer in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.parametrize("name", TEXTS)
def test_an_answer_soon_and_in_little_memory(answers: dict[str, dict[str, Any]], name: str) -> None:
    answer = answers[name]
    assert answer["check"] < 2
    assert answer["format"] < 4
    assert answer["memory"] < 500
    if name in ACCEPTED:
        assert answer["codes"] is None
    else:
        assert 1 <= len(answer["codes"]) <= 100
        assert set(answer["codes"]) <= set(CODES)
