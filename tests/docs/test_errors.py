"""Every diagnostic has a page, and what it shows is what the compiler says."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gsa_dsl.cli.files import read_source
from gsa_dsl.diagnostics.codes import CODES, SYNTAX
from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema.check import check
from tests.docs.snippets import ROOT, Block, blocks

FOLDER = ROOT / "docs" / "errors"
PAGES = sorted(FOLDER.glob("GSA*.md"))
INDEX = """\
# Diagnostics

Every mistake that the compiler reports has a code, which never changes its meaning. `gsa explain GSA064` shows the page
of one in a terminal. Each page has a spec with the mistake, the compiler's answer, and the spec put right.
"""


def answer(block: Block) -> SpecError:
    """What the compiler says of a wrong spec in the folder at hand.

    Its role says how it is called: ``wrong``, ``wrong k=5`` with a parameter, ``wrong text`` without a folder, ``wrong
    padded 70000`` with as many spaces behind it.
    """
    _, *options = block.role.split()
    params: dict[str, int | float] = {}
    text = block.text + (" " * int(options[1]) if options[:1] == ["padded"] else "")
    if options and "=" in options[0]:
        params = {name: ast.literal_eval(value) for name, value in (option.split("=") for option in options)}
    Path("spec.gsa").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as raised:
        check(parse(Source("spec.gsa", text) if options == ["text"] else read_source("spec.gsa")), params)
    return raised.value


def test_every_code_has_a_page_and_no_page_is_left_over() -> None:
    assert [path.stem for path in PAGES] == sorted(CODES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_shows_the_mistake_the_answer_and_the_fix(
    path: Path, golden: Callable[[Path, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may begin with other specs of the folder: ``<!-- beside base.gsa -->``."""
    monkeypatch.chdir(tmp_path)
    *beside, wrong, _, right = blocks(str(path.relative_to(ROOT)))
    for block in beside:
        Path(block.role.removeprefix("beside ")).write_text(block.text, encoding="utf-8")
    error = answer(wrong)
    assert {diagnostic.code for diagnostic in error.diagnostics} == {path.stem}
    Path("spec.gsa").write_text(right.text, encoding="utf-8")
    check(parse(read_source("spec.gsa")))
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(?m)\A# .*$", lambda _: f"# {path.stem}: {CODES[path.stem]}", text)
    text = re.sub(r"(?ms)^```text\n.*?^```$", lambda _: f"```text\n{error}\n```", text)
    golden(path, text)


def test_the_index_lists_every_code(golden: Callable[[Path, str], None]) -> None:
    sections = {"Syntax": SYNTAX, "Meaning": {code: title for code, title in CODES.items() if code not in SYNTAX}}
    text = INDEX
    for title, codes in sections.items():
        rows = "".join(f"| [{code}]({code}.md) | {what} |\n" for code, what in sorted(codes.items()))
        text += f"\n## {title}\n\n| code | |\n|---|---|\n{rows}"
    golden(FOLDER / "index.md", text)
