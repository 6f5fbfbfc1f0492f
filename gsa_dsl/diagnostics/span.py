"""Where something stands in a spec: the source text and half-open spans of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """A spec's text and the name it is reported under (a path, or ``<string>``); ``base`` is the spec it extends."""

    name: str
    text: str
    base: Source | None = None

    def line(self, number: int) -> str:
        """The 1-based line ``number`` without its newline; empty past the end."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 1 <= number <= len(lines) else ""

    def of(self, span: Span) -> Source:
        """The source that ``span`` is of: this one, unless it says another."""
        return self if span.source is None else span.source

    def quote(self, span: Span) -> str:
        """What stands under ``span``, on one line."""
        return " ".join(self.of(span).text[span.start : span.end].split())


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters; lines and columns count from 1, offsets from 0.

    ``source`` is the text it is of: a spec's clauses may come from the specs it extends. None means the one at hand.
    """

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int
    source: Source | None = field(default=None, repr=False)

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of ``other``."""
        return Span(self.start, other.end, self.line, self.column, other.end_line, other.end_column, self.source)
