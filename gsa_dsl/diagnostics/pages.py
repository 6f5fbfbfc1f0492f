"""The page of each diagnostic's code: its meaning, a spec with the mistake, the answer, and the spec put right."""

from __future__ import annotations

import re

from gsa_dsl.paths import errors_dir

CODE = re.compile(r"GSA\d{3}", re.IGNORECASE)
_FENCED = re.compile(r"^```\w*\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


def page(code: str) -> str:
    """The page of ``code`` as Markdown. Raises KeyError for a code that does not exist."""
    path = errors_dir() / f"{code}.md"
    if not CODE.fullmatch(code) or not path.is_file():
        raise KeyError(code)
    return path.read_text(encoding="utf-8")


def page_text(code: str) -> str:
    """The page of ``code`` for a terminal: its blocks are indented. Raises as :func:`page`."""
    text = _COMMENT.sub("", page(code)).removeprefix("# ")
    return _FENCED.sub(lambda block: re.sub(r"^(?=.)", "    ", block[1], flags=re.MULTILINE), text)
