"""``gsa explain GSA064`` shows the page of a diagnostic."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsa_dsl.diagnostics.pages import page, page_text
from tests.cli.running import Gsa


def test_gsa_explain_shows_a_page(gsa: Gsa) -> None:
    ran = gsa("explain", "gsa064")
    assert (ran.status, ran.out) == (0, page_text("GSA064"))
    assert ran.out.startswith("GSA064: unbounded budget\n")
    assert "\n    error[GSA064]: the budget is not bounded\n" in ran.out
    assert "```" not in ran.out
    assert "<!--" not in ran.out
    assert gsa("explain", "GSA064", "--json").json["page"] == page("GSA064")


@pytest.mark.parametrize("code", ["GSA999", "gsa000"])
def test_a_code_that_does_not_exist_is_misuse(gsa: Gsa, code: str) -> None:
    ran = gsa("explain", code)
    assert ran.status == 2
    assert f"there is no diagnostic {code.upper()}" in ran.err


def test_a_file_called_like_a_code_is_a_file(gsa: Gsa) -> None:
    Path("GSA064").write_text("attention small { causal }")
    assert "attention small at" in gsa("explain", "GSA064").out
