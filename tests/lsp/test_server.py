"""The language server as an editor meets it: JSON-RPC over the pipes of a process."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from gsa_dsl.cli import main
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.format import format_source
from tests.lsp.editor import Editor

pytest.importorskip("pygls")

URI = "file:///specs/spec%20one.gsa"
GOOD = """\
attention a(k = 64) {  # é🙂
  causal
  gate output = sigmoid(linear(x) + 0.5)  per head
  always last k
}
"""
WRONG = "attention a {\n  causal  # 🙂\n  gate output = sigmod(linear(x)) + lenght  per head\n}\n"
FORMATTING = {"textDocument": {"uri": URI}, "options": {"tabSize": 2, "insertSpaces": True}}


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor() as opened:
        yield opened
    assert opened.status == 0
    assert "Traceback" not in opened.errors


def at(line: int, character: int, uri: str = URI) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def test_it_says_what_it_can(editor: Editor) -> None:
    can = editor.capabilities
    assert can["hoverProvider"]
    assert can["definitionProvider"]
    assert can["documentFormattingProvider"]
    assert can["completionProvider"]["triggerCharacters"] == ["(", "[", " "]
    assert can["positionEncoding"] == "utf-16"


def test_a_good_spec_has_no_diagnostics(editor: Editor) -> None:
    assert editor.open("file:///good.gsa", GOOD) == []


def test_mistakes_come_with_place_code_and_fix_and_go_when_they_are_mended(editor: Editor) -> None:
    uri = "file:///wrong.gsa"
    first, second = editor.open(uri, WRONG)
    assert (first["code"], first["source"], first["severity"]) == ("GSA021", "gsa", 1)
    assert first["range"] == {"start": {"line": 2, "character": 16}, "end": {"line": 2, "character": 22}}
    assert first["message"] == "unknown function 'sigmod'\nfix: did you mean 'sigmoid'?"
    assert second["code"] == "GSA020"
    change = {"range": {"start": {"line": 2, "character": 34}, "end": {"line": 2, "character": 43}}, "text": ""}
    document = {"uri": uri, "version": 2}
    editor.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
    assert [each["code"] for each in editor.diagnostics(uri)] == ["GSA021"]
    editor.tell(
        "textDocument/didChange", {"textDocument": {"uri": uri, "version": 3}, "contentChanges": [{"text": GOOD}]}
    )
    assert editor.diagnostics(uri) == []
    editor.tell("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert editor.diagnostics(uri) == []


def test_a_second_place_is_related_information(editor: Editor) -> None:
    (found,) = editor.open("file:///twice.gsa", "attention a {\n  causal\n  scale 1\n  scale 2\n}\n")
    (related,) = found["relatedInformation"]
    assert related["message"] == "first given here"
    assert related["location"]["range"]["start"] == {"line": 2, "character": 2}


def test_hover(editor: Editor) -> None:
    editor.open(URI, GOOD)
    found = editor.ask("textDocument/hover", at(2, 18))
    assert found["contents"]["kind"] == "markdown"
    assert "range `(0, 1)`" in found["contents"]["value"]
    assert found["range"] == {"start": {"line": 2, "character": 16}, "end": {"line": 2, "character": 40}}
    assert editor.ask("textDocument/hover", at(0, 25)) is None


def test_completion(editor: Editor) -> None:
    editor.open(URI, GOOD)
    items = {item["label"]: item for item in editor.ask("textDocument/completion", at(2, 30))["items"]}
    assert items["linear"]["insertText"] == "linear(x)"
    assert {"sigmoid", "k", "where"} <= set(items)
    assert "var" not in items


def test_definition(editor: Editor) -> None:
    editor.open(URI, GOOD)
    found = editor.ask("textDocument/definition", at(3, 14))
    assert found["uri"] == URI
    assert found["range"] == {"start": {"line": 0, "character": 12}, "end": {"line": 0, "character": 13}}
    assert editor.ask("textDocument/definition", at(1, 3)) is None


def test_formatting(editor: Editor) -> None:
    messy = GOOD.replace("\n", "  \r\n").replace("  always", "always")
    editor.open(URI, messy)
    (edit,) = editor.ask("textDocument/formatting", FORMATTING)
    assert edit["newText"] == GOOD == format_source(Source("a", messy))
    assert edit["range"] == {"start": {"line": 0, "character": 0}, "end": {"line": 5, "character": 0}}
    editor.open(URI, GOOD)
    assert not editor.ask("textDocument/formatting", FORMATTING)
    editor.open(URI, "attention {")
    assert not editor.ask("textDocument/formatting", FORMATTING)


@pytest.mark.parametrize("text", ["", "attention", "attention a {\n  causal \x00\n}", "#" * 70_000, "é\n🙂\r\n{[("])
def test_any_text_is_answered(editor: Editor, text: str) -> None:
    uri = "file:///any.gsa"
    assert editor.open(uri, text)
    for method in ("hover", "completion", "definition"):
        editor.ask(f"textDocument/{method}", at(0, 0, uri))
        editor.ask(f"textDocument/{method}", at(9, 99, uri))


def test_without_pygls_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gsa_dsl.cli.lsp.find_spec", lambda _: None)
    assert importlib.util.find_spec("pygls") is not None
    assert main(["lsp"]) == 2
    assert "pip install 'gsa-dsl[lsp]'" in capsys.readouterr().err
