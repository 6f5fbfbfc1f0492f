"""The VS Code extension: its grammar knows the language's words, its files are there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.parser import parse_with_tokens
from gsa_dsl.frontend.words import CLAUSES, KEYWORDS
from gsa_dsl.lsp.textmate import grammar, word_lists

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "editors" / "vscode"
SYNTAX = FOLDER / "syntaxes" / "gsa.tmLanguage.json"
SPECS = sorted((ROOT / "examples").glob("*.gsa"))


def patterns() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(SYNTAX.read_text(encoding="utf-8"))["patterns"]
    return found


def scopes(text: str) -> Iterator[tuple[str, str]]:
    """Pieces of ``text`` with their scopes, as an editor tokenises: the earliest match, the first of equals."""
    for line in text.split("\n"):
        position = 0
        while True:
            matches = [(rule, re.compile(rule["match"]).search(line, position)) for rule in patterns()]
            found = [(match.start(), rule, match) for rule, match in matches if match is not None]
            if not found:
                break
            _, rule, match = min(found, key=lambda each: each[0])
            captures = {int(number): scope["name"] for number, scope in rule.get("captures", {}).items()}
            yield from ((match[number], scope) for number, scope in captures.items())
            if not captures:
                yield match[0], rule["name"]
            position = match.end()


def test_the_grammar_is_made_from_the_words(golden: Callable[[Path, str], None]) -> None:
    golden(SYNTAX, json.dumps(grammar(), indent=2) + "\n")


def test_its_keywords_are_those_of_the_parser() -> None:
    text = resources.files("gsa_dsl.frontend").joinpath("grammar.lark").read_text(encoding="utf-8")
    terminals = set(re.findall(r"^[A-Z_]+(?:\.-?\d+)?: /([a-z_]+)\\b/", text, re.M))
    lists = word_lists()
    keywords = {word for scope, words in lists.items() if scope.startswith("keyword") for word in words}
    assert keywords == set(KEYWORDS)
    assert keywords <= terminals <= keywords | lists["support.constant.gsa"]
    written = {rule["name"]: rule["match"] for rule in patterns() if "name" in rule}
    for scope, words in lists.items():
        (alternatives,) = re.findall(r"\(\?:([a-zA-Z_|0-9]+)\)", written[scope])
        assert set(alternatives.split("|")) == set(words)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_an_example_tokenises_completely(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = list(scopes(text))
    assert not [piece for piece, scope in found if "invalid" in scope]
    assert "".join("".join(piece.split()) for piece, _ in found) == "".join(text.split())
    assert (path.stem, "entity.name.type.gsa") in found
    _, tokens = parse_with_tokens(Source(path.name, text))
    words = {str(token) for token in tokens if token.type == "WORD"}
    assert words - set(KEYWORDS) <= word_lists()["support.constant.gsa"]


def test_scopes_of_a_line() -> None:
    assert list(scopes("gate output = sigmoid(2.5 * linear(x)) per head # causal")) == [
        ("gate", "keyword.control.gsa"),
        ("output", "support.constant.gsa"),
        ("=", "keyword.operator.gsa"),
        ("sigmoid", "support.function.gsa"),
        ("(", "punctuation.gsa"),
        ("2.5", "constant.numeric.gsa"),
        ("*", "keyword.operator.gsa"),
        ("linear", "support.function.gsa"),
        ("(", "punctuation.gsa"),
        ("x", "variable.other.gsa"),
        (")", "punctuation.gsa"),
        (")", "punctuation.gsa"),
        ("per", "keyword.other.gsa"),
        ("head", "support.constant.gsa"),
        ("# causal", "comment.line.number-sign.gsa"),
    ]
    assert ("?", "invalid.illegal.gsa") in scopes("scale ?")
    assert set(CLAUSES) == {word for word in CLAUSES if (word, "keyword.control.gsa") in scopes(word)}


def test_the_extension_refers_to_files_that_are_there_and_starts_the_server() -> None:
    package = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    contributed = package["contributes"]
    named = [package["main"], contributed["languages"][0]["configuration"], contributed["grammars"][0]["path"]]
    assert all((FOLDER / name).is_file() for name in named)
    assert contributed["configuration"]["properties"]["gsa.command"]["default"] == ["gsa", "lsp"]
    assert contributed["grammars"][0]["scopeName"] == grammar()["scopeName"]
    configuration = json.loads((FOLDER / "language-configuration.json").read_text(encoding="utf-8"))
    assert configuration["comments"] == {"lineComment": "#"}
    rules = configuration["indentationRules"]
    assert re.search(rules["increaseIndentPattern"], "attention a {  # note")
    assert re.search(rules["decreaseIndentPattern"], "  }")


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_the_extension_is_javascript() -> None:
    subprocess.run(["node", "--check", str(FOLDER / "extension.js")], check=True, timeout=60)
