"""Where something stands in a spec: the source text and half-open spans of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A spec's text and the name it is reported under (a path, or ``<string>``)."""

    name: str
    text: str

    def line(self, number: int) -> str:
        """The 1-based line ``number`` without its newline; empty past the end."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 1 <= number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters; lines and columns count from 1, offsets from 0."""

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of ``other``."""
        return Span(self.start, other.end, self.line, self.column, other.end_line, other.end_column)
