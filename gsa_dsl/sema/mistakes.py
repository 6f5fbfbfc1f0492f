"""Where one check gathers what it finds, so that a single run tells every mistake."""

from __future__ import annotations

from dataclasses import dataclass, field

from gsa_dsl.diagnostics.errors import MOST, Diagnostic, Label
from gsa_dsl.diagnostics.span import Source, Span


@dataclass(slots=True)
class Mistakes:
    """The first ``MOST`` diagnostics of one check of ``source``, in the order they were found."""

    source: Source
    found: list[Diagnostic] = field(default_factory=list)

    def add(
        self, code: str, message: str, span: Span, *, reason: str = "", fix: str = "", labels: tuple[Label, ...] = ()
    ) -> None:
        """Note one mistake; the same one at the same place is told once."""
        diagnostic = Diagnostic(code, message, span, reason, fix, labels)
        if len(self.found) < MOST and diagnostic not in self.found:
            self.found.append(diagnostic)

    def text(self, span: Span) -> str:
        """The source under ``span`` on one line, for quoting in a message."""
        return self.source.quote(span)
