"""Offsets into a text and an editor's positions: lines and columns from 0, in UTF-16 units unless agreed otherwise."""

from __future__ import annotations

from gsa_dsl.diagnostics.span import Span

Place = tuple[int, int]
"""A line and a column, both from 0."""

UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def place(text: str, offset: int, encoding: str = "utf-16") -> Place:
    """Where the character at ``offset`` stands."""
    begin = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset), _units(text[begin:offset], encoding)


def offset(text: str, where: Place, encoding: str = "utf-16") -> int:
    """The offset of the character at ``where``; past the end of a line or of the text, that end."""
    line, column = where
    begin = 0
    for _ in range(line):
        newline = text.find("\n", begin)
        if newline < 0:
            return len(text)
        begin = newline + 1
    width = 0
    for position, character in enumerate(text[begin:].split("\n", 1)[0].removesuffix("\r"), start=begin):
        width += _units(character, encoding)
        if width > column:
            return position
    return begin + len(text[begin:].split("\n", 1)[0].removesuffix("\r"))


def ends(text: str, span: Span, encoding: str = "utf-16") -> tuple[Place, Place]:
    """Start and end of ``span``."""
    return place(text, span.start, encoding), place(text, span.end, encoding)


def _units(text: str, encoding: str) -> int:
    codec, size = UNITS[encoding]
    return len(text.encode(codec, "surrogatepass")) // size
