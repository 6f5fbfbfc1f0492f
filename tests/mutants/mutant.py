"""What a mutant is: one edit of one file of the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, order=True)
class Mutant:
    """``file``, relative to the repository, with ``text`` at ``start`` .. ``stop`` replaced by ``instead``."""

    file: str
    rule: str
    name: str  # says what changes; stays the same when other lines of the file change
    start: int
    stop: int
    instead: str

    @property
    def dialects(self) -> tuple[str, ...]:
        """The backends whose code can change, the quicker to run first."""
        if self.file.startswith("gsa_dsl/"):
            return "torch", "interpret"
        return ("torch",) if self.file == "templates/eager.py.jinja" else ("interpret",)

    def apply(self, text: str) -> str:
        """``text`` of the file with the fault in it."""
        return text[: self.start] + self.instead + text[self.stop :]


APART = "attend_hopper.py.jinja"
"""What no interpreter runs: tests/runtime/test_hopper.py has threads for it, and faults in it were put in by hand."""


def sources() -> dict[str, str]:
    """The files that faults are put into, by name: every template and helper but one, and the passes."""
    folders = (path for path in (ROOT / "templates").rglob("*") if path.name != APART)
    passes = (ROOT / "gsa_dsl" / place for place in ("passes/derivative.py", "passes/canonicalize.py", "ir/lower.py"))
    paths = sorted(path for path in folders if path.suffix in (".jinja", ".py")) + sorted(passes)
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
