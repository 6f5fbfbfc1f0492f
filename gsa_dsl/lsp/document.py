"""A spec as it stands in an editor, read and checked as far as it goes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

from gsa_dsl.diagnostics.errors import Diagnostic, SpecError
from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast
from gsa_dsl.sema.typed import CheckedSpec, Typed

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Document:
    """``tree`` is None for a text that does not parse, ``spec`` for one with any mistake; those are ``diagnostics``."""

    source: Source
    tree: ast.Spec | None
    spec: CheckedSpec | None
    diagnostics: tuple[Diagnostic, ...]


def analyse(source: Source) -> Document:
    """Parse and check ``source`` with its parameters at their defaults."""
    from gsa_dsl.frontend.parser import parse
    from gsa_dsl.sema.check import check

    tree: ast.Spec | None = None
    try:
        tree = parse(source)
        return Document(source, tree, check(tree), ())
    except SpecError as error:
        return Document(source, tree, None, error.diagnostics)


def word_at(text: str, offset: int) -> tuple[str, int, int]:
    """The word that ``offset`` touches with its start and end; empty in a comment and where there is none."""
    begin = text.rfind("\n", 0, offset) + 1
    line = text[begin:].split("\n", 1)[0].split("#", 1)[0]
    for match in _WORD.finditer(line):
        if begin + match.start() <= offset <= begin + match.end():
            return match[0], begin + match.start(), begin + match.end()
    return "", offset, offset


def within(span: Span, offset: int) -> bool:
    """Whether ``offset`` touches ``span``."""
    return span.start <= offset <= span.end


def path_to(node: ast.Node, offset: int) -> Iterator[ast.Node]:
    """``node`` and the nodes in it that ``offset`` touches, outermost first."""
    from gsa_dsl.frontend.pieces import children

    yield node
    for child in children(node):
        if within(child.span, offset):
            yield from path_to(child, offset)


def typed_nodes(value: object) -> Iterator[Typed]:
    """Every typed expression in a checked spec."""
    if isinstance(value, tuple):
        for item in value:
            yield from typed_nodes(item)
    elif is_dataclass(value) and not isinstance(value, (Source, ast.Node)):
        if isinstance(value, Typed):
            yield value
        for field in fields(value):
            yield from typed_nodes(getattr(value, field.name))
