"""A diagnostic as text for a person, and as JSON for a tool."""

from __future__ import annotations

from typing import Any
from unicodedata import category, east_asian_width

from gsa_dsl.diagnostics.errors import Diagnostic
from gsa_dsl.diagnostics.span import Source, Span

TAB = 4
_CONTEXT = 100

_RED, _BLUE, _CYAN, _BOLD, _RESET = "\x1b[1;31m", "\x1b[1;34m", "\x1b[36m", "\x1b[1m", "\x1b[0m"


def render(source: Source, diagnostic: Diagnostic, color: bool = False) -> str:
    """Message, place, source line with carets, labels, reason and fix, without a newline at the end.

    A label in another file than the mistake follows under that file's name.

    A span over several lines shows its first. ``color`` adds ANSI escapes and changes nothing else.
    """
    paint = _Paint(color)
    shown = [(diagnostic.span, "^", ""), *((label.span, "-", label.text) for label in diagnostic.labels)]
    width = max(len(str(span.line)) for span, _, _ in shown)
    gutter = " " * width
    bar = paint(_BLUE, f"{gutter} |")

    lines = [f"{paint(_RED, f'error[{diagnostic.code}]')}{paint(_BOLD, f': {diagnostic.message}')}"]
    for file in dict.fromkeys(source.of(span) for span, _, _ in shown):
        here = [item for item in shown if source.of(item[0]) == file]
        arrow = "-->" if len(lines) == 1 else ":::"
        lines += [f"{paint(_BLUE, f'{gutter}{arrow}')} {file.name}:{here[0][0].line}:{here[0][0].column}", bar]
        previous: int | None = None
        for span, mark, text in sorted(here, key=lambda item: (item[0].line, item[1] == "-")):
            code, underline = _excerpt(file.line(span.line), span, mark)
            if span.line != previous:
                if previous is not None and span.line > previous + 1:
                    lines.append(paint(_BLUE, "..."))
                lines.append(f"{paint(_BLUE, f'{span.line:>{width}} |')} {code}".rstrip())
            lines.append(f"{bar} {paint(_RED if mark == '^' else _BLUE, f'{underline} {text}'.rstrip())}")
            previous = span.line
    if diagnostic.reason or diagnostic.fix:
        lines.append(bar)
    for title, text in (("reason", diagnostic.reason), ("fix", diagnostic.fix)):
        if text:
            lines.append(f"{gutter} {paint(_BLUE, '=')} {paint(_CYAN, title)}: {text}")
    return "\n".join(lines)


def to_json(source: Source, diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic with its spans as offsets into the text and as 1-based lines and columns."""
    return {
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": source.of(diagnostic.span).name,
        "span": _span(diagnostic.span),
        "reason": diagnostic.reason,
        "fix": diagnostic.fix,
        "labels": [
            {"file": source.of(label.span).name, "span": _span(label.span), "text": label.text}
            for label in diagnostic.labels
        ],
    }


class _Paint:
    def __init__(self, color: bool) -> None:
        self._color = color

    def __call__(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self._color else text


def _span(span: Span) -> dict[str, int]:
    return {
        "start": span.start,
        "end": span.end,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def _excerpt(line: str, span: Span, mark: str) -> tuple[str, str]:
    """The source line as shown and the marks under the span; a very long line is cut around it."""
    first = span.column - 1
    last = span.end_column - 1 if span.end_line == span.line else len(line.rstrip())
    begin = max(0, first - _CONTEXT // 2) if len(line) > 2 * _CONTEXT else 0
    end = begin + 2 * _CONTEXT if len(line) > 2 * _CONTEXT else len(line)
    last = min(last, end)

    head, code = "", ""
    before, under = 0, 0
    if begin > 0:
        head = "..."
    column = before = len(head)
    for position, character in enumerate(line[begin:end], start=begin):
        shown = _show(character, column - len(head))
        code += shown
        column += _width(shown)
        if position < first:
            before = column
        elif position < last:
            under = column - before
    tail = "..." if end < len(line) else ""
    return head + code + tail, " " * before + mark * max(1, under)


def _show(character: str, column: int) -> str:
    """What stands for ``character``: spaces for a tab, an escape for what a terminal would not show as one sign."""
    if character == "\t":
        return " " * (TAB - column % TAB)
    if category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"<U+{ord(character):04X}>"
    return character


def _width(shown: str) -> int:
    """Terminal columns of ``shown``: two for East Asian wide signs, none for combining ones."""
    return sum(0 if category(c) in ("Mn", "Me") else 2 if east_asian_width(c) in "WF" else 1 for c in shown)
