"""Texts that are refused before the grammar is asked."""

from __future__ import annotations

import re

from gsa_dsl.diagnostics.errors import Diagnostic, SpecError
from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend.sources import MAX_SIZE

MAX_DEPTH = 100

# Control characters other than tab and line ends, a lone carriage return, marks that reorder or hide text, surrogates.
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]|\r(?!\n)"
)
_BRACKETS = re.compile(r"#[^\n]*|(?P<open>[(\[{])|(?P<close>[)\]}])")


def check_text(source: Source) -> None:
    """Raise SpecError for a text too large, with unreadable characters, or with brackets nested too deeply."""
    text = source.text
    if len(text) > MAX_SIZE:
        raise too_large(source.name, f"has {len(text)} characters")
    diagnostic = _unreadable(text) or _too_deep(text)
    if diagnostic is not None:
        raise SpecError(source, (diagnostic,))


def span_at(text: str, start: int, end: int) -> Span:
    """The span of ``text[start:end]``."""
    line, column = _place(text, start)
    return Span(start, end, line, column, *_place(text, end))


def without_comments(text: str) -> str:
    """``text`` with every comment blanked, so that offsets stay."""
    return re.sub(r"#[^\n]*", lambda match: " " * len(match[0]), text)


def not_utf8(name: str, data: bytes, error: UnicodeDecodeError) -> SpecError:
    """The refusal of a file that is no UTF-8."""
    source = Source(name, data.decode("utf-8", "replace"))
    offset = len(data[: error.start].decode("utf-8", "replace"))
    diagnostic = Diagnostic(
        "GSA017",
        f"byte 0x{data[error.start]:02x} is not UTF-8",
        span_at(source.text, offset, offset + 1),
        reason="a spec is UTF-8 text",
        fix="save the file as UTF-8",
    )
    return SpecError(source, (diagnostic,))


def too_large(name: str, what: str) -> SpecError:
    """The refusal of what is too long for a spec; the text is kept out of it, rendering megabytes helps nobody."""
    source = Source(name, "")
    diagnostic = Diagnostic(
        "GSA018",
        f"this file {what}",
        span_at(source.text, 0, 0),
        reason=f"a spec is a few dozen lines; at most {MAX_SIZE // 1024} KiB are read",
        fix="check that this is the file you meant",
    )
    return SpecError(source, (diagnostic,))


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _unreadable(text: str) -> Diagnostic | None:
    found = list(_UNREADABLE.finditer(text))
    if not found:
        return None
    first = found[0]
    others = f", and {len(found) - 1} more like it" if len(found) > 1 else ""
    return Diagnostic(
        "GSA017",
        f"character U+{ord(first[0]):04X} cannot stand in a spec{others}",
        span_at(text, first.start(), first.end()),
        reason="control characters and invisible marks make a text read other than it looks",
        fix="remove it; line ends are LF or CRLF",
    )


def _too_deep(text: str) -> Diagnostic | None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth = max(0, depth - 1)
        if depth > MAX_DEPTH:
            return nested_too_deeply(span_at(text, match.start(), match.end()), "brackets are")
    return None


def nested_too_deeply(span: Span, what: str) -> Diagnostic:
    """The refusal of something that nests further than MAX_DEPTH."""
    return Diagnostic(
        "GSA019",
        f"{what} nested more than {MAX_DEPTH} levels deep",
        span,
        reason="no kernel is that deep; every later stage walks the tree level by level",
        fix="split the expression or drop redundant brackets",
    )
