"""``gsa check`` and what all commands share: statuses, streams, JSON."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Gsa

EXAMPLES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "examples").glob("*.gsa"))
COMMANDS = ("check", "explain", "compile", "verify")


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_good(gsa: Gsa, example: str) -> None:
    ran = gsa("check", example)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"{example}: attention {Path(example).stem} is good\n"


def test_every_mistake_is_on_standard_error(gsa: Gsa) -> None:
    ran = gsa("check", "wrong.gsa")
    assert (ran.status, ran.out) == (1, "")
    assert "wrong.gsa:3:16" in ran.err
    assert "did you mean 'sigmoid'?" in ran.err
    assert "wrong.gsa:4:29" in ran.err
    assert ran.err.endswith("wrong.gsa: 2 mistakes\n")


def test_one_wrong_file_does_not_hide_the_others(gsa: Gsa) -> None:
    ran = gsa("check", "wrong.gsa", "good.gsa")
    assert ran.status == 1
    assert "good.gsa: attention good is good" in ran.out
    assert "wrong.gsa: 2 mistakes" in ran.err


def test_json_of_mistakes_has_their_spans(gsa: Gsa) -> None:
    ran = gsa("check", "--json", "wrong.gsa", "good.gsa")
    assert (ran.status, ran.err) == (1, "")
    assert ran.json["ok"] is False
    wrong, good = ran.json["files"]
    assert (good["file"], good["ok"], good["name"], good["diagnostics"]) == ("good.gsa", True, "good", [])
    text = Path("wrong.gsa").read_text()
    spans = [diagnostic["span"] for diagnostic in wrong["diagnostics"]]
    assert [text[span["start"] : span["end"]] for span in spans] == ["sigmod", "lenght"]
    assert all(diagnostic["code"].startswith("GSA") and diagnostic["fix"] for diagnostic in wrong["diagnostics"])


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_json_of_mistakes_in_the_other_commands(gsa: Gsa, command: str) -> None:
    ran = gsa(command, "--json", "wrong.gsa")
    assert (ran.status, ran.err) == (1, "")
    assert ran.json["ok"] is False
    assert len(ran.json["diagnostics"]) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_spec_is_no_traceback(gsa: Gsa, command: str) -> None:
    ran = gsa(command, "wrong.gsa")
    assert (ran.status, ran.out) == (1, "")
    assert "wrong.gsa: 2 mistakes" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_parameter_the_spec_does_not_have(gsa: Gsa, command: str) -> None:
    ran = gsa(command, "good.gsa", "-p", "kk=4")
    assert (ran.status, ran.out) == (1, "")
    assert "kk" in ran.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_file_is_misuse(gsa: Gsa, command: str) -> None:
    ran = gsa(command, "nowhere.gsa")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "gsa: error: cannot read nowhere.gsa: No such file or directory\n"


def test_a_folder_is_not_a_spec(gsa: Gsa) -> None:
    ran = gsa("check", "examples")
    assert ran.status == 2
    assert "cannot read examples: Is a directory" in ran.err


def test_bytes_that_are_no_text(gsa: Gsa) -> None:
    Path("binary.gsa").write_bytes(b"attention \xff {}")
    ran = gsa("check", "binary.gsa")
    assert (ran.status, ran.out) == (1, "")
    assert "binary.gsa:1:11" in ran.err
    assert "not UTF-8" in ran.err


def test_standard_input(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(Path("wrong.gsa").read_text()))
    ran = gsa("check", "-")
    assert ran.status == 1
    assert "<stdin>:3:16" in ran.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["chekc", "good.gsa"], "invalid choice"),
        (["check"], "FILE"),
        (["check", "good.gsa", "--fast"], "--fast"),
        (["check", "good.gsa", "-p", "k"], "expected NAME=VALUE, got 'k'"),
        (["check", "good.gsa", "-p", "k=many"], "must be a number, got 'many'"),
        (["explain", "good.gsa", "--heads", "0"], "expected at least 1, got 0"),
        (["explain", "good.gsa", "--L", "1e3"], "expected a whole number, got '1e3'"),
        (["explain", "good.gsa", "--stage", "magic"], "invalid choice"),
        (["compile", "good.gsa", "--backend", "cuda"], "invalid choice"),
        (["compile", "good.gsa", "--heads", "6", "--kv-heads", "4"], "--kv-heads 4 does not divide --heads 6"),
        (["explain", "good.gsa", "--stage", "plan", "--head-dim", "999"], "--head-dim must be at most 256, got 999"),
    ],
)
def test_misuse(gsa: Gsa, argv: list[str], message: str) -> None:
    ran = gsa(*argv)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_examples(gsa: Gsa, command: str | None) -> None:
    ran = gsa(*filter(None, (command, "--help")))
    assert (ran.status, ran.err) == (0, "")
    assert "\nexamples:\n  gsa " in ran.out


def test_version(gsa: Gsa) -> None:
    from gsa_dsl import __version__

    assert gsa("--version").out == f"gsa {__version__}\n"


def test_as_a_module_with_a_reader_that_stops(gsa: Gsa) -> None:
    command = [sys.executable, "-m", "gsa_dsl", "explain", "examples/gsa.gsa", "--stage", "ast"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), errors) == (0, b"")
