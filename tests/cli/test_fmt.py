"""``gsa fmt`` rewrites whole files or none, and says what it did."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from gsa_dsl.frontend import format
from tests.cli.running import Gsa

MESSY = "attention messy{causal # yes\nscale 2*1}"
NEAT = "attention messy {\n  causal  # yes\n  scale 2 * 1\n}\n"


@pytest.fixture
def messy(gsa: Gsa) -> Path:
    path = Path("messy.gsa")
    path.write_text(MESSY)
    return path


def test_a_file_is_rewritten_and_named_once(gsa: Gsa, messy: Path) -> None:
    first, second = gsa("fmt", "messy.gsa", "good.gsa"), gsa("fmt", "messy.gsa", "good.gsa")
    assert (first.status, first.out, first.err) == (0, "messy.gsa\n", "")
    assert messy.read_text() == NEAT
    assert (second.status, second.out) == (0, "")


def test_permissions_and_links_stay(gsa: Gsa, messy: Path) -> None:
    messy.chmod(0o600)
    link = Path("link.gsa")
    link.symlink_to(messy)
    assert gsa("fmt", "link.gsa").status == 0
    assert link.is_symlink()
    assert messy.read_text() == NEAT
    assert stat.S_IMODE(messy.stat().st_mode) == 0o600


def test_check_changes_nothing(gsa: Gsa, messy: Path) -> None:
    ran = gsa("fmt", "--check", "messy.gsa", "good.gsa")
    assert (ran.status, ran.out) == (1, "messy.gsa: not formatted\n")
    assert messy.read_text() == MESSY
    assert gsa("fmt", "--check", "good.gsa").status == 0


def test_diff_shows_what_would_change(gsa: Gsa, messy: Path) -> None:
    ran = gsa("fmt", "--diff", "messy.gsa")
    assert ran.status == 0
    assert ran.out.splitlines()[:3] == ["--- messy.gsa", "+++ messy.gsa (formatted)", "@@ -1,2 +1,4 @@"]
    assert "-attention messy{causal # yes\n" in ran.out
    assert "+  scale 2 * 1\n" in ran.out
    assert messy.read_text() == MESSY
    assert gsa("fmt", "--check", "--diff", "messy.gsa").status == 1


def test_standard_input_goes_to_standard_output(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(MESSY))
    assert gsa("fmt", "-").out == NEAT


def test_a_wrong_file_is_left_and_the_others_are_formatted(gsa: Gsa, messy: Path) -> None:
    broken = Path("broken.gsa")
    broken.write_text("attention a {\n  causal scale\n}")
    ran = gsa("fmt", "broken.gsa", "messy.gsa")
    assert ran.status == 1
    assert "error[GSA006]" in ran.err
    assert broken.read_text() == "attention a {\n  causal scale\n}"
    assert messy.read_text() == NEAT


def test_json(gsa: Gsa, messy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = gsa("fmt", "--json", "--check", "messy.gsa", "good.gsa")
    assert ran.status == 1
    assert [(each["file"], each["changed"]) for each in ran.json["files"]] == [("messy.gsa", True), ("good.gsa", False)]
    monkeypatch.setattr("sys.stdin", io.StringIO(MESSY))
    assert gsa("fmt", "--json", "-").json["files"][0]["text"] == NEAT


def test_a_missing_file_is_misuse(gsa: Gsa) -> None:
    assert gsa("fmt", "nowhere.gsa").status == 2


def test_a_file_that_cannot_be_written_is_misuse(gsa: Gsa, messy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gsa_dsl.runtime.loader.write_atomically", full)
    ran = gsa("fmt", "messy.gsa")
    assert ran.status == 2
    assert "No space left" in ran.err
    assert messy.read_text() == MESSY


def test_a_mistake_of_the_formatter_leaves_the_file(gsa: Gsa, messy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "_joined", lambda line: " ".join(p.text for p in line).replace("2", "3"))
    ran = gsa("fmt", "messy.gsa")
    assert ran.status == 1
    assert "would change what it says" in ran.err
    assert messy.read_text() == MESSY
