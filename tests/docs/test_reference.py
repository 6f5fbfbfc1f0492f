"""The reference pages are what the tool itself says, and every page is on the site."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa_dsl.cli import main
from tests.docs.reference import reference
from tests.docs.snippets import ROOT


def test_the_command_line_reference(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs" / "cli-reference.md", reference())


def test_the_reference_names_every_flag_that_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    text = reference()
    for command in re.findall(r"^## gsa (\w+)$", text, re.M):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        section = text.split(f"## gsa {command}\n")[1].split("\n## ")[0]
        flags = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", capsys.readouterr().out)) - {"-h", "--help"}
        assert {flag for flag in flags if flag not in section} == set()


def test_every_page_is_on_the_site() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert f": {path.name}\n" in listed
    for folder in ("variants", "errors", "decisions"):
        assert any(f": {folder}/{index}\n" in listed for index in ("index.md", "README.md"))
