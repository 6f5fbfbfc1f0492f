"""A compiler for sparse gated attention: a short spec in, checked and differentiable Triton kernels out.

``import gsa_dsl`` loads nothing heavy: every public name is imported where it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gsa_dsl.compiler import CompiledAttention as CompiledAttention
    from gsa_dsl.compiler import compile as compile
    from gsa_dsl.diagnostics import Diagnostic as Diagnostic
    from gsa_dsl.diagnostics import SpecError as SpecError
    from gsa_dsl.nn import GSAttention as GSAttention
    from gsa_dsl.nn import indexer_loss as indexer_loss
    from gsa_dsl.results import Aux as Aux

__version__ = "0.1.0"

_HOMES = {
    "Aux": "gsa_dsl.results",
    "CompiledAttention": "gsa_dsl.compiler",
    "Diagnostic": "gsa_dsl.diagnostics",
    "GSAttention": "gsa_dsl.nn",
    "SpecError": "gsa_dsl.diagnostics",
    "compile": "gsa_dsl.compiler",
    "indexer_loss": "gsa_dsl.nn",
}

__all__ = [
    "Aux",
    "CompiledAttention",
    "Diagnostic",
    "GSAttention",
    "SpecError",
    "__version__",
    "compile",
    "indexer_loss",
]


def __getattr__(name: str) -> object:
    """The public name ``name``, imported from the module it lives in and kept for the next time."""
    if name == "testing":
        return import_module("gsa_dsl.testing")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gsa_dsl' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
