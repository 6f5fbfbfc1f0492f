"""``gsa new`` writes specs that compile, and replaces nothing unless told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsa_dsl.diagnostics import Source
from gsa_dsl.frontend.format import format_source
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema.check import check
from tests.cli.running import ROOT, Gsa

EXAMPLES = [path.stem for path in sorted((ROOT / "examples").glob("*.gsa")) if " extends " not in path.read_text()]


@pytest.mark.parametrize("like", [None, *EXAMPLES])
def test_a_new_spec_is_good_formatted_and_called_as_said(gsa: Gsa, like: str | None) -> None:
    ran = gsa("new", "mine", *(["--like", like] if like else []))
    assert (ran.status, ran.out) == (0, "mine.gsa\n")
    text = Path("mine.gsa").read_text()
    assert check(parse(Source("mine.gsa", text))).name == "mine"
    assert format_source(Source("mine.gsa", text)) == text
    assert gsa("check", "mine.gsa").status == 0


def test_the_starter_compiles_and_explains_itself(gsa: Gsa) -> None:
    gsa("new", "mine")
    assert gsa("compile", "mine.gsa", "-o", "build").out == "build/mine.py\n"
    text = Path("mine.gsa").read_text()
    assert "gsa explain mine.gsa" in text
    assert text.count("#") >= 12


def test_a_file_is_not_replaced_unless_forced(gsa: Gsa) -> None:
    before = Path("good.gsa").read_text()
    ran = gsa("new", "good")
    assert ran.status == 2
    assert "good.gsa exists" in ran.err
    assert Path("good.gsa").read_text() == before
    assert gsa("new", "good", "--force").status == 0
    assert Path("good.gsa").read_text() != before


def test_output_elsewhere(gsa: Gsa) -> None:
    assert gsa("new", "mine", "-o", "specs/other.gsa").out == "specs/other.gsa\n"
    assert "attention mine(" in Path("specs/other.gsa").read_text()
    ran = gsa("new", "mine", "--like", "dense", "-o", "-")
    assert "attention mine {\n" in ran.out
    assert not Path("mine.gsa").exists()
    assert gsa("new", "mine", "--json").json["path"] == "mine.gsa"


@pytest.mark.parametrize("name", ["t", "causal", "two words", "1st", "a{}", "a # b", "", "é"])
def test_a_name_that_cannot_be_is_refused(gsa: Gsa, name: str) -> None:
    ran = gsa("new", name)
    assert ran.status == 2
    assert "cannot name an attention" in ran.err
    assert not list(Path().glob(f"{name}.gsa"))


def test_an_unknown_example_is_refused_with_those_there_are(gsa: Gsa) -> None:
    ran = gsa("new", "mine", "--like", "gatd")
    assert ran.status == 2
    assert "did you mean 'gated'?" in ran.err
    assert "sliding_sink" in ran.err


def test_an_example_that_extends_another_is_no_start(gsa: Gsa) -> None:
    ran = gsa("new", "mine", "--like", "gsa_small")
    assert ran.status == 2
    assert "only says what differs from 'gsa'; start with --like gsa" in ran.err
    assert not Path("mine.gsa").exists()
