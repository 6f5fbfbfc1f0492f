"""Reading specs and writing results, so that a reader never sees half a file."""

from __future__ import annotations

import sys
from pathlib import Path

from gsa_dsl.cli.status import Misuse
from gsa_dsl.diagnostics import Source
from gsa_dsl.frontend import library, sources
from gsa_dsl.runtime import loader


def read_source(name: str) -> Source:
    """The spec in the file ``name`` with those it extends, or from standard input for ``-``.

    Raises:
        Misuse: there is no such file.
        SpecError: it is no text, or what it extends cannot be read.
    """
    try:
        return Source("<stdin>", sys.stdin.read()) if name == "-" else library.load(name)
    except OSError as error:
        raise Misuse(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misuse(f"cannot read {name}: not UTF-8 text (byte {error.start})") from error


def read_alone(name: str) -> Source:
    """The text in the file ``name`` and nothing it may refer to, or standard input for ``-``; raises likewise."""
    if name == "-":
        return read_source(name)
    try:
        return sources.read_source(name)
    except OSError as error:
        raise Misuse(f"cannot read {name}: {error.strerror}") from error


def write_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` and make its folder; the file is there whole or not at all.

    Raises:
        Misuse: the place cannot be written to.
    """
    try:
        loader.write_atomically(path, text)
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from error


def rewrite_file(path: Path, text: str) -> None:
    """Replace the text of the file at ``path``, whole or not at all; a link stays a link, permissions stay.

    Raises:
        Misuse: the place cannot be written to.
    """
    try:
        real = path.resolve(strict=True)
        loader.write_atomically(real, text, mode=real.stat().st_mode & 0o7777)
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from error
