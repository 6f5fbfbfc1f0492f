"""The examples at sizes small enough for goldens and for the interpreter, and their generated modules."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gsa_dsl.codegen.emit import emit_torch, emit_triton
from gsa_dsl.compiler import plan_of
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.library import bare_names, load
from gsa_dsl.ir.plan import Plan
from gsa_dsl.options import KernelConfig

ROOT = Path(__file__).resolve().parents[2]
PARAMS: dict[str, dict[str, int]] = {
    "alibi": {},
    "dense": {},
    "dsa": {"k": 5},
    "gated": {},
    "gsa": {"k_base": 8, "k_min": 2, "k_max": 12},
    "gsa_soft": {"k": 5, "recent": 3},
    "moba": {"k": 2, "block": 8},
    "msa": {"k": 2, "block": 8},
    "nsa_select": {"k": 2, "block": 4},
    "relative_bias": {},
    "packed": {"k_base": 8, "k_min": 2, "k_max": 12, "recent": 3},
    "gsa_small": {"k_base": 8, "k_min": 2, "k_max": 12, "recent": 3},
    "sliding_sink": {"window": 8, "sinks": 2},
    "sparse_only": {"k": 5, "recent": 3},
    "top_p": {"k_max": 12, "recent": 3},
}
EXAMPLES = tuple(PARAMS)
SHAPE = (4, 2, 16)
# tiles so small that a few dozen positions cross most boundaries
SMALL_TILES = KernelConfig(
    tile=8, block_keys=16, backward_keys=16, score_rows=32, score_keys=32, strip=1, scan_keys=64, list_keys=32
)


def example(name: str) -> Source:
    """An example, with the one it extends."""
    return bare_names(load(ROOT / "examples" / f"{name}.gsa"))


@cache
def plan_of_example(name: str, shape: tuple[int, ...] = SHAPE, config: KernelConfig | None = None) -> Plan:
    """The plan of an example with small parameters."""
    return plan_of(example(name), PARAMS[name], shape, config)


@cache
def module_text(name: str, dialect: str) -> str:
    """The generated module of an example, ``dialect`` 'triton' or 'torch'."""
    plan = plan_of_example(name)
    return emit_triton(plan) if dialect == "triton" else emit_torch(plan)
