"""Files to texts. A compile from the cache comes this far: what only a refusal needs is imported there."""

from __future__ import annotations

from pathlib import Path

from gsa_dsl.diagnostics.span import Source

MAX_SIZE = 64 * 1024

_BOM = b"\xef\xbb\xbf"


def read_source(path: str | Path) -> Source:
    """The file at ``path`` as a source named as given; raises SpecError if it is no UTF-8, OSError if unreadable."""
    with open(path, "rb") as file:
        data = file.read(MAX_SIZE + len(_BOM) + 1)
    data = data.removeprefix(_BOM)
    if len(data) > MAX_SIZE:
        from gsa_dsl.frontend.reader import too_large

        raise too_large(str(path), f"is larger than {MAX_SIZE // 1024} KiB")
    try:
        return Source(str(path), data.decode("utf-8"))
    except UnicodeDecodeError as error:
        from gsa_dsl.frontend.reader import not_utf8

        raise not_utf8(str(path), data, error) from None
