"""Sizes small enough to run many times on a CPU, with budgets that leave most keys out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gsa_dsl

SMALL: dict[str, dict[str, int]] = {
    "alibi": {},
    "dense": {},
    "gated": {},
    "relative_bias": {"near": 2, "size": 4, "far": 8},
    "sliding_sink": {"window": 8, "sinks": 2},
    "gsa_soft": {"k": 5, "recent": 3},
    "dsa": {"k": 5},
    "sparse_only": {"k": 5, "recent": 3},
    "gsa": {"k_base": 8, "k_min": 2, "k_max": 12},
    "top_p": {"k_max": 12, "recent": 3},
    "gsa_small": {"k_base": 8, "k_min": 2, "k_max": 12},
}
HEADS, KV_HEADS, HEAD_DIM, D_MODEL = 4, 2, 8, 24

Compile = Callable[[str], "gsa_dsl.CompiledAttention"]
