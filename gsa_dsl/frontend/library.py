"""Specs with the specs they extend: found in the folder of the file, or among texts that the caller gives.

A compile from the cache comes this far: what only a spec that extends another needs is imported where it is met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.sources import read_source

if TYPE_CHECKING:
    from gsa_dsl.frontend import ast

MAX_LEVELS = 8
"""How many specs may extend one another."""

SUFFIX = ".gsa"

Lookup = Callable[[str], Source]
"""The spec of a name. Raises LookupError with the reason and the fix, as a pair of texts, if there is none to read."""


def load(path: str | Path) -> Source:
    """The spec in the file at ``path`` with those it extends, which are files beside it.

    Raises SpecError for what is no text, names no readable base, or is extended without end; OSError if the file itself
    cannot be read.
    """
    return with_bases(read_source(path), in_folder(Path(path).parent), PurePath(path).stem)


def with_bases(source: Source, lookup: Lookup, name: str = "") -> Source:
    """``source``, itself known as ``name``, with its ``base`` and the base's own, each found by ``lookup``."""
    return _with_bases(source, lookup, (name,))


def bases_of(source: Source) -> dict[str, str]:
    """The texts of the specs that ``source`` extends by name, the nearest first."""
    base = source.base
    return {} if base is None else {PurePath(base.name).stem: base.text, **bases_of(base)}


def bare_names(source: Source) -> Source:
    """``source`` and its bases under their files' names alone: messages and code do not depend on the folder."""
    base = None if source.base is None else bare_names(source.base)
    return replace(source, name=PurePath(source.name).name, base=base)


def in_folder(folder: Path) -> Lookup:
    """Look up ``NAME.gsa`` in ``folder`` and nowhere else: a link that leads out of it is not followed."""

    def lookup(name: str) -> Source:
        path = folder / f"{name}{SUFFIX}"
        if not path.is_file():
            from gsa_dsl.diagnostics.suggest import did_you_mean

            beside = (other.stem for other in folder.glob(f"*{SUFFIX}"))
            fix = did_you_mean(name, beside) or f"put {path.name} into the folder of this spec"
            raise LookupError(f"there is no file {path.name} beside this one", fix)
        real = path.resolve()
        if real.parent != folder.resolve():
            raise LookupError(f"{path.name} is a link out of the folder", f"put a copy of {path.name} in its place")
        try:
            return replace(read_source(real), name=str(path))
        except OSError as error:
            reason = error.strerror or str(error)
            raise LookupError(f"{path.name} cannot be read: {reason}", "make it readable") from error

    return lookup


def among(texts: Mapping[str, str]) -> Lookup:
    """Look up a name in ``texts``."""

    def lookup(name: str) -> Source:
        if name not in texts:
            raise LookupError(f"bases holds {sorted(texts)}", f"pass bases={{'{name}': ...}} with its text")
        return Source(f"{name}{SUFFIX}", texts[name])

    return lookup


def _with_bases(source: Source, lookup: Lookup, above: tuple[str, ...]) -> Source:
    base = _extends(source)
    if base is None:
        return source
    from gsa_dsl.frontend import broken_bases

    if base.id in above or len(above) > MAX_LEVELS:
        raise broken_bases.endless(source, base, above, MAX_LEVELS)
    try:
        found = lookup(base.id)
    except LookupError as error:
        raise broken_bases.unreadable(source, base, error) from error
    return replace(source, base=_with_bases(found, lookup, (*above, base.id)))


def _extends(source: Source) -> ast.Name | None:
    """The name after ``extends``; raises SpecError for a wrong spec. One without the word is not parsed for it."""
    if "extends" not in source.text:
        return None
    from gsa_dsl.frontend.parser import parse

    return parse(source).extends
