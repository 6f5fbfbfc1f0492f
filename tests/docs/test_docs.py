"""Everything that the README and the documentation show is what the tool does."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import gsa_dsl
from gsa_dsl.cli import main
from gsa_dsl.diagnostics import Source, SpecError
from gsa_dsl.frontend.library import load
from gsa_dsl.frontend.parser import parse
from gsa_dsl.ops import FUNCTIONS
from gsa_dsl.sema.check import check
from tests.docs.snippets import PAGES, ROOT, TUTORIAL, Block, blocks

GOOD = blocks(*PAGES, language="gsa", role="")
RUNNABLE = [page for page in PAGES if page != TUTORIAL]
REFUSED = blocks(*PAGES, role="refused")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, and a cache of its own."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_there_is_something_to_test() -> None:
    assert len(GOOD) >= 6
    assert len(REFUSED) >= 4
    assert blocks("docs/cli.md", language="console")
    assert blocks("docs/python.md", language="python")


@pytest.mark.parametrize("block", GOOD, ids=str)
def test_a_shown_spec_is_good(block: Block) -> None:
    assert check(parse(Source(str(block), block.text))).name


@pytest.mark.parametrize("block", blocks(*PAGES, role="beside the examples"), ids=str)
def test_a_shown_spec_that_extends_an_example_is_good(block: Block, workplace: Path) -> None:
    path = workplace / "examples" / "shown.gsa"
    path.write_text(block.text, encoding="utf-8")
    assert check(parse(load(path))).causal


@pytest.mark.parametrize("number", range(0, len(REFUSED), 2), ids=lambda number: str(REFUSED[number]))
def test_a_refused_spec_is_answered_as_shown(number: int) -> None:
    spec, answer = REFUSED[number : number + 2]
    assert (spec.language, answer.language) == ("gsa", "text")
    name = re.search(r"--> (.*?):\d+:\d+$", answer.text, re.M)
    assert name is not None
    with pytest.raises(SpecError) as raised:
        check(parse(Source(name[1], spec.text)))
    assert str(raised.value) == answer.text.rstrip("\n")


@pytest.mark.parametrize("block", blocks(*RUNNABLE, language="console"), ids=str)
def test_a_shown_command_prints_what_is_shown(
    block: Block, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, expected in re.findall(r"^\$ gsa ([^\n]*)\n((?:(?!\$ ).*\n)*)", block.text, re.M):
        main(shlex.split(command))
        shown = capsys.readouterr()
        printed = re.sub(re.escape(str(workplace)) + "/?", "", shown.out + shown.err)
        pattern = re.escape(expected).replace(re.escape("...\n"), r"(?:.*\n)*")
        assert re.fullmatch(pattern, printed), f"$ gsa {command}\n{printed}"


@pytest.mark.parametrize("page", sorted({block.page for block in blocks(*RUNNABLE, language="python", role="")}))
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, workplace: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks(page, language="python", role=""):
        # The blank lines make a traceback name the page's own line.
        exec(compile("\n" * block.line + block.text, page, "exec"), names)


@pytest.mark.parametrize(
    "block", [block for block in blocks(*PAGES, language="python") if block.role.startswith("generated ")], ids=str
)
def test_a_shown_piece_of_generated_code_is_generated(block: Block, tmp_path: Path) -> None:
    spec = ROOT / "examples" / f"{block.role.split()[1]}.gsa"
    made = gsa_dsl.compile(spec, heads=32, kv_heads=8, head_dim=128, backend="interpret", cache_dir=tmp_path)
    assert block.text in made.source


def test_the_reference_lists_every_function() -> None:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    for name, op in FUNCTIONS.items():
        assert f"| `{name}` | {op.doc} |" in text


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{gsa_dsl.__version__}]" in text or "## [Unreleased]" in text
