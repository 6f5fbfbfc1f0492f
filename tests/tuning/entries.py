"""Keys and entries for tests of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.key import Key, Machine, key_for
from gsa_dsl.tuning.store import Entry

H100 = Machine("NVIDIA H100 80GB HBM3", "9.0", "550.54.15", "3.6.0", "2.11.0+cu130")


def key(length: int = 8192, **changed: Any) -> Key:
    """A key as of a call with ``length`` tokens; ``changed`` sets single fields."""
    return replace(key_for("0123456789abcdef", (64, 4, 128), "bfloat16", length, 0.9, H100), **changed)


def entry(of: Key, **changed: Any) -> Entry:
    """An entry with other tiles than the default's."""
    made = Entry(
        key=of,
        config=KernelConfig(tile=16),
        default={"forward": 2.0, "training": 8.0},
        best={"forward": 1.0, "training": 4.0},
        length=of.length,
        overlap=0.9,
        tried=10,
        failed=1,
        ended="exhausted",
    )
    return replace(made, **changed)
