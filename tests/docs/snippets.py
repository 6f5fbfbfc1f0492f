"""The fenced blocks of the documentation, with the comment that says how a block is to be tested."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"(?:^<!-- (?P<role>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``role`` is the HTML comment on the line before it (``refused``, ``generated gsa``), if any."""

    page: str
    line: int
    language: str
    role: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*pages: str, language: str | None = None, role: str | None = None) -> list[Block]:
    """The blocks of ``pages`` (paths from the root) in this language and this role, where those are given."""
    found = []
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("language")) + 1
            found.append(Block(page, line, match["language"], match["role"] or "", match["text"]))
    return [
        block
        for block in found
        if (language is None or block.language == language) and (role is None or block.role == role)
    ]


PAGES = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))))
# Read from top to bottom, by a test of its own.
TUTORIAL = "docs/tutorial.md"
