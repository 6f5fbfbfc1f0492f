"""Mistakes in a spec: what they are, where they stand, and how they are shown."""

from gsa_dsl.diagnostics.errors import Diagnostic, Label, SpecError
from gsa_dsl.diagnostics.span import Source, Span

__all__ = ["Diagnostic", "Label", "Source", "Span", "SpecError"]
