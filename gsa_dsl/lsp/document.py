"""A spec as it stands in an editor, read and checked as far as it goes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path, PurePath

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


def analyse(source: Source, folder: Path | None = None) -> Document:
    """Parse and check ``source`` with its parameters at their defaults; what it extends is read from ``folder``."""
    from gsa_dsl.frontend.library import in_folder, with_bases
    from gsa_dsl.frontend.parser import parse
    from gsa_dsl.sema.check import check

    slips: tuple[Diagnostic, ...] = ()
    try:
        tree: ast.Spec | None = parse(source)
    except SpecError as error:
        slips, tree = error.diagnostics, error.repaired
    if tree is None:
        return Document(source, None, None, slips)
    parsed = None if slips else tree
    try:
        if folder is not None:
            tree = replace(tree, source=with_bases(source, in_folder(folder), PurePath(source.name).stem))
        spec = check(tree)
    except SpecError as error:
        found = error.diagnostics
        if tree.extends is not None:
            found = tuple(_here(each, error.source.of(each.span), source, tree.extends) for each in found)
        return Document(source, parsed, None, (*slips, *found))
    return Document(source, parsed, None if slips else spec, slips)


def _here(diagnostic: Diagnostic, file: Source, source: Source, extends: ast.Name) -> Diagnostic:
    """A mistake in a spec that ``source`` extends, told where it extends it; labels in other files are left out."""
    labels = tuple(label for label in diagnostic.labels if label.span.source is None)
    if file.name == source.name:
        return replace(diagnostic, labels=labels)
    message = f"{PurePath(file.name).name}:{diagnostic.span.line}: {diagnostic.message}"
    return replace(diagnostic, message=message, span=extends.span, labels=())


def word_at(text: str, offset: int) -> tuple[str, int, int]:
    """The word that ``offset`` touches with its start and end; empty in a comment and where there is none."""
    begin = text.rfind("\n", 0, offset) + 1
    line = text[begin:].split("\n", 1)[0].split("#", 1)[0]
    for match in _WORD.finditer(line):
        if begin + match.start() <= offset <= begin + match.end():
            return match[0], begin + match.start(), begin + match.end()
    return "", offset, offset


def within(span: Span, offset: int) -> bool:
    """Whether ``offset`` touches ``span``, and that is of the text at hand."""
    return span.source is None and span.start <= offset <= span.end


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
