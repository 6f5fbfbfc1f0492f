"""What the test suite of gsa_dsl is made of, for the suites of others.

Everything is imported where it is first asked for: hypothesis is needed for strategies and ``given_variant`` alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsa_dsl.testing.inputs import PATTERNS as PATTERNS
    from gsa_dsl.testing.inputs import Inputs as Inputs
    from gsa_dsl.testing.inputs import make_inputs as make_inputs
    from gsa_dsl.testing.poison import PoisonedMemory as PoisonedMemory
    from gsa_dsl.testing.report import VerifyReport as VerifyReport
    from gsa_dsl.testing.specs import load_spec as load_spec
    from gsa_dsl.testing.specs import small_params as small_params
    from gsa_dsl.testing.strategies import Shape as Shape
    from gsa_dsl.testing.tiles import small_tiles as small_tiles
    from gsa_dsl.testing.variants import Values as Values
    from gsa_dsl.testing.variants import Variant as Variant
    from gsa_dsl.testing.variants import cases as cases
    from gsa_dsl.testing.variants import given_variant as given_variant
    from gsa_dsl.testing.variants import values as values
    from gsa_dsl.testing.verify import verify_spec as verify_spec

_HOMES = {
    "inputs": ("PATTERNS", "Inputs", "make_inputs"),
    "poison": ("PoisonedMemory",),
    "report": ("VerifyReport",),
    "tiles": ("small_tiles",),
    "verify": ("verify_spec",),
    "variants": ("Values", "Variant", "cases", "given_variant", "values"),
    "strategies": ("Shape",),
    "specs": ("load_spec", "small_params"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
