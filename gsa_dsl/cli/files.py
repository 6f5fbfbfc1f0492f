"""Reading specs and writing results, so that a reader never sees half a file."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from gsa_dsl.cli.status import Misuse
from gsa_dsl.diagnostics import Source
from gsa_dsl.frontend import reader


def read_source(name: str) -> Source:
    """The spec in the file ``name``, or from standard input for ``-``.

    Raises:
        Misuse: there is no such file.
        SpecError: it is no text.
    """
    try:
        return Source("<stdin>", sys.stdin.read()) if name == "-" else reader.read_source(name)
    except OSError as error:
        raise Misuse(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misuse(f"cannot read {name}: not UTF-8 text (byte {error.start})") from error


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` and make its folder; the file is there whole or not at all.

    Raises:
        Misuse: the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise Misuse(f"cannot write {path}: {error.strerror}") from error


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
