"""Diagnostics as text and as JSON."""

from __future__ import annotations

import json
import re

import pytest

from gsa_dsl.diagnostics.errors import Diagnostic, Label, SpecError
from gsa_dsl.diagnostics.render import render, to_json
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.reader import span_at


def diagnostic(text: str, start: int, end: int, **more: object) -> tuple[Source, Diagnostic]:
    return Source("a.gsa", text), Diagnostic("GSA001", "message", span_at(text, start, end), **more)  # type: ignore[arg-type]


def carets(text: str, part: str, mark: str = "^") -> tuple[str, str]:
    """The source line as shown and what stands above the marks in it."""
    start = text.index(part)
    _, line, marks = render(*diagnostic(text, start, start + len(part))).splitlines()[-3:]
    _, line, marks = (row.split("|", 1)[-1][1:] for row in ("", line, marks))
    return line, marks


def test_the_whole_picture() -> None:
    text = "attention a {\n  scale sigmod(x)\n}\n"
    label = Label(span_at(text, 12, 13), "opened here")
    shown = render(*diagnostic(text, 22, 28, reason="because", fix="did you mean 'sigmoid'?", labels=(label,)))
    assert shown == (
        "error[GSA001]: message\n"
        " --> a.gsa:2:9\n"
        "  |\n"
        "1 | attention a {\n"
        "  |             - opened here\n"
        "2 |   scale sigmod(x)\n"
        "  |         ^^^^^^\n"
        "  |\n"
        "  = reason: because\n"
        "  = fix: did you mean 'sigmoid'?"
    )


def test_colour_changes_nothing_else() -> None:
    source, one = diagnostic("attention a {\n}", 10, 11, reason="r", fix="f")
    coloured = render(source, one, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(source, one)


@pytest.mark.parametrize(
    ("text", "part", "line", "marks"),
    [
        ("\tscale x", "x", "    scale x", "          ^"),
        ("a\tbc\td", "d", "a   bc  d", "        ^"),
        ("a\tbc", "\t", "a   bc", " ^^^"),
        ("注意 abc", "abc", "注意 abc", "     ^^^"),
        ("注意 abc", "意", "注意 abc", "  ^^"),
        ("e\u0301x y", "y", "e\u0301x y", "   ^"),
        ("a\u202eb", "b", "a<U+202E>b", "         ^"),
        ("ab\r\ncd", "ab", "ab", "^^"),
    ],
)
def test_marks_stand_under_what_they_mark(text: str, part: str, line: str, marks: str) -> None:
    assert carets(text, part) == (line, marks)


def test_a_span_of_many_lines_shows_the_first() -> None:
    rows = render(*diagnostic("scale (1 +\n 2)", 6, 14)).splitlines()
    assert rows[-2:] == ["1 | scale (1 +", "  |       ^^^^"]


def test_the_end_of_a_line_can_be_marked() -> None:
    assert carets("causal", "") == ("causal", "^")
    rows = render(*diagnostic("causal\n", 6, 6)).splitlines()
    assert rows[-1] == "  |       ^"


def test_a_long_line_is_cut_around_the_mark() -> None:
    text = "x" * 5000 + "!" + "y" * 5000
    line, marks = carets(text, "!")
    assert len(line) < 250
    assert line[marks.index("^")] == "!"


def test_line_numbers_line_up() -> None:
    text = "\n" * 8 + "first\nsecond"
    label = Label(span_at(text, 8, 13), "here")
    rows = render(*diagnostic(text, 14, 20, labels=(label,))).splitlines()
    assert [row[:4] for row in rows[2:]] == ["   |", " 9 |", "   |", "10 |", "   |"]


def test_json_holds_offsets_and_places() -> None:
    source, one = diagnostic("attention a {\n  scale x\n}", 22, 23, reason="r", fix="f")
    data = json.loads(json.dumps(to_json(source, one)))
    assert data["span"] == {"start": 22, "end": 23, "line": 2, "column": 9, "end_line": 2, "end_column": 10}
    assert (data["code"], data["file"], data["message"], data["reason"], data["fix"]) == (
        "GSA001",
        "a.gsa",
        "message",
        "r",
        "f",
    )


def test_an_error_shows_its_diagnostics_in_source_order() -> None:
    source, late = diagnostic("ab", 1, 2)
    _, early = diagnostic("ab", 0, 1)
    shown = str(SpecError(source, (late, early)))
    assert shown == f"{render(source, early)}\n\n{render(source, late)}"
