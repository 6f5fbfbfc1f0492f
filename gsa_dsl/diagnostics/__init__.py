"""Mistakes in a spec: what they are, where they stand, and how they are shown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gsa_dsl.diagnostics.errors import Diagnostic as Diagnostic
    from gsa_dsl.diagnostics.errors import Label as Label
    from gsa_dsl.diagnostics.errors import SpecError as SpecError
    from gsa_dsl.diagnostics.span import Source as Source
    from gsa_dsl.diagnostics.span import Span as Span

__all__ = ["Diagnostic", "Label", "Source", "Span", "SpecError"]


def __getattr__(name: str) -> object:
    """The public name ``name``; a compile from the cache meets no mistakes and does not load them."""
    if name not in __all__:
        raise AttributeError(f"module 'gsa_dsl.diagnostics' has no attribute {name!r}")
    home = "span" if name in ("Source", "Span") else "errors"
    return getattr(import_module(f"gsa_dsl.diagnostics.{home}"), name)
