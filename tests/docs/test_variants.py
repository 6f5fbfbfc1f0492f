"""Every example has a page with its equation, its source, its text and what it costs; all of it is as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa_dsl.cli import main
from tests.docs.snippets import ROOT, blocks

EXAMPLES = sorted((ROOT / "examples").glob("*.gsa"))
FOLDER = ROOT / "docs" / "variants"
INDEX = """\
# Variants

Attentions from the literature as specs of the language: what each computes, where it comes from, and what it costs.

| variant | |
|---|---|
"""


def about(path: Path) -> str:
    """The comment that an example begins with, as one line."""
    lines = path.read_text(encoding="utf-8").split("\n")
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    return " ".join(line.removeprefix("#").strip() for line in comment)


def test_every_example_has_a_page_and_no_page_is_left_over() -> None:
    """To add a variant: ``examples/NAME.gsa``, ``docs/variants/NAME.md`` (copy a page), and ``make golden``."""
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"index"}
    assert pages == {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_page_shows_the_spec_and_its_cost(
    path: Path, golden: Callable[[Path, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    page = FOLDER / f"{path.stem}.md"
    text = page.read_text(encoding="utf-8")
    spec = path.read_text(encoding="utf-8")
    assert main(["explain", str(path)]) == 0
    figures, rest = capsys.readouterr().out.split("\nformulas\n")
    compared = rest.split("\n\n", 1)[1]
    assert "dense attention at this size" in compared
    for role, language, shown in (("spec", "gsa", spec), ("cost", "text", f"{figures}\n{compared}")):
        block = f"<!-- {role} -->\n```{language}\n{shown.rstrip()}\n```"
        text, found = re.subn(rf"<!-- {role} -->\n```{language}\n.*?\n```", lambda _, b=block: b, text, flags=re.S)
        assert found == 1, f"{page.name} has no block '<!-- {role} -->'"
    golden(page, text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_page_has_an_equation_and_a_source(path: Path) -> None:
    page = FOLDER / f"{path.stem}.md"
    text = page.read_text(encoding="utf-8")
    assert blocks(str(page.relative_to(ROOT)), role="equation")
    assert re.search(r"^Source: \S", text, re.M)
    for number in re.findall(r"arXiv[ :](\d{4}\.\d{5})", about(path)):
        assert number in text


def test_the_index_lists_every_variant(golden: Callable[[Path, str], None]) -> None:
    rows = "".join(f"| [{path.stem}]({path.stem}.md) | {about(path)} |\n" for path in EXAMPLES)
    golden(FOLDER / "index.md", INDEX + rows)
