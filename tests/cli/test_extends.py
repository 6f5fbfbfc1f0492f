"""The command line on a spec that extends another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Gsa

BASE = "attention base(k = 4) {\n  causal\n  gate value = sigmoid(linear(x)) per head\n  always last k\n}\n"
DERIVED = "attention derived extends base {\n  gate output = sigmoid(linear(x)) per head\n}\n"


@pytest.fixture(autouse=True)
def specs(gsa: Gsa) -> None:
    Path("specs").mkdir()
    Path("specs/base.gsa").write_text(BASE)
    Path("specs/derived.gsa").write_text(DERIVED)


def test_every_command_takes_it(gsa: Gsa) -> None:
    assert gsa("check", "specs/derived.gsa").out == "specs/derived.gsa: attention derived is good\n"
    shape = ("--heads", "2", "--kv-heads", "1", "--head-dim", "16", "--value-dim", "8")
    assert gsa("compile", "specs/derived.gsa", "-o", "out", *shape).status == 0
    text = Path("out/derived.py").read_text()
    assert "# [base.gsa:3] gate value" in text
    assert "specs" not in text
    assert gsa("verify", "specs/derived.gsa", "--backend", "torch", "--L", "9", *shape).status == 0


def test_costs_name_the_file_of_a_line(gsa: Gsa) -> None:
    out = gsa("explain", "specs/derived.gsa").out
    line = next(line for line in out.splitlines() if line.startswith("always"))
    assert "base.gsa:4" in line
    rows = gsa("explain", "specs/derived.gsa", "--json").json["rows"]
    places = {row["construct"]: (row["file"], row["line"]) for row in rows}
    assert places["gate value"] == ("specs/base.gsa", 3)
    assert places["gate output"] == ("specs/derived.gsa", 2)


def test_a_mistake_is_shown_in_its_file(gsa: Gsa) -> None:
    Path("specs/base.gsa").write_text(BASE.replace("sigmoid", "sigmod"))
    ran = gsa("check", "specs/derived.gsa")
    assert ran.status == 1
    assert "--> specs/base.gsa:3:16" in ran.err
    assert "::: specs/derived.gsa:1:27" in ran.err
    (diagnostic,) = gsa("check", "specs/derived.gsa", "--json").json["files"][0]["diagnostics"]
    assert diagnostic["file"] == "specs/base.gsa"
    assert diagnostic["labels"][0]["file"] == "specs/derived.gsa"


def test_values_wider_than_kernels_are_made_for(gsa: Gsa) -> None:
    ran = gsa("explain", "specs/derived.gsa", "--stage", "plan", "--value-dim", "300")
    assert ran.status == 2
    assert "--value-dim must be at most 256, got 300" in ran.err
    assert "values of 64" in gsa("explain", "specs/derived.gsa", "--value-dim", "64").out
