"""A diagnostic as a value, and the one exception that carries them to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gsa_dsl.diagnostics.span import Source, Span

# How many mistakes of one kind, syntactic or semantic, a run tells.
MOST = 100


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that explains the first (``'k_max' is declared here``)."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: a stable code, what is wrong and where, why it matters, and what to write instead."""

    code: str
    message: str
    span: Span
    reason: str = ""
    fix: str = ""
    labels: tuple[Label, ...] = ()


class SpecError(Exception):
    """A spec is wrong. Holds every diagnostic found, in source order; ``str()`` renders them all.

    ``repaired``: after slips of syntax whose intent is plain, the syntax tree as it was meant.
    """

    def __init__(self, source: Source, diagnostics: tuple[Diagnostic, ...], repaired: Any = None) -> None:
        self.source = source
        self.repaired = repaired
        self.diagnostics = tuple(sorted(diagnostics, key=self._place))
        super().__init__(source, diagnostics)

    def _place(self, diagnostic: Diagnostic) -> tuple[bool, str, int, str]:
        """The spec's own mistakes first, then those in the specs it extends."""
        name = self.source.of(diagnostic.span).name
        return name != self.source.name, name, diagnostic.span.start, diagnostic.code

    def __str__(self) -> str:
        from gsa_dsl.diagnostics.render import render

        return "\n\n".join(render(self.source, diagnostic) for diagnostic in self.diagnostics)
