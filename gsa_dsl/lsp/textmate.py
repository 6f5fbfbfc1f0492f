"""The TextMate grammar of specs, made from the language's own tables of words.

The file under ``editors/vscode/syntaxes`` is what :func:`grammar` returns; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable

from gsa_dsl.frontend.phrases import all_slot_words
from gsa_dsl.frontend.words import CLAUSES, INDEX_VARIABLES, JOINTS, SETTINGS
from gsa_dsl.sema.names import CALLABLE

Pattern = dict[str, object]


def word_lists() -> dict[str, frozenset[str]]:
    """The language's words by the scope that an editor gives them."""
    return {
        "keyword.control.gsa": frozenset({"attention", *CLAUSES}),
        "keyword.other.setting.gsa": frozenset(SETTINGS),
        "keyword.other.gsa": frozenset(JOINTS) - frozenset(CLAUSES),
        "support.constant.gsa": all_slot_words() - {*CLAUSES, *SETTINGS, *JOINTS},
        "support.function.gsa": CALLABLE,
    }


def grammar() -> dict[str, object]:
    """The grammar as its JSON document."""
    words = {scope: _any_of(found) for scope, found in word_lists().items()}
    functions = words.pop("support.function.gsa")
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "gsa",
        "scopeName": "source.gsa",
        "fileTypes": ["gsa"],
        "patterns": [
            _pattern("comment.line.number-sign.gsa", "#.*$"),
            {
                "match": r"\b(attention)\s+([A-Za-z_][A-Za-z0-9_]*)",
                "captures": {"1": {"name": "keyword.control.gsa"}, "2": {"name": "entity.name.type.gsa"}},
            },
            _pattern("support.function.gsa", rf"{functions}(?=\s*\()"),
            *(_pattern(scope, match) for scope, match in words.items()),
            _pattern("variable.language.index.gsa", rf"\b[{INDEX_VARIABLES}]\b"),
            _pattern("constant.numeric.gsa", r"\b[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\b"),
            _pattern("variable.other.gsa", r"\b[A-Za-z_][A-Za-z0-9_]*\b"),
            _pattern("keyword.operator.gsa", r"<=|>=|==|[-+*/^<>=.]"),
            _pattern("punctuation.gsa", r"[()\[\]{},]"),
            _pattern("invalid.illegal.gsa", r"\S"),
        ],
    }


def _pattern(scope: str, match: str) -> Pattern:
    return {"name": scope, "match": match}


def _any_of(words: Iterable[str]) -> str:
    return rf"\b(?:{'|'.join(sorted(words))})\b"
