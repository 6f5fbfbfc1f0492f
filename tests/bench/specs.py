"""Small specs and inputs to measure on the CPU."""

from __future__ import annotations

import torch

import gsa_dsl
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.results import Selection
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.tuning.inputs import workload
from tests.cli.running import ROOT

PARAMS: dict[str, dict[str, int]] = {
    "gsa": {"k_base": 64, "k_min": 16, "k_max": 128},
    "gsa_small": {"k_base": 64, "k_min": 16, "k_max": 128},
    "packed": {"k_base": 64, "k_min": 16, "k_max": 128, "recent": 8},
    "dsa": {"k": 64},
    "msa": {"k": 3, "block": 16},
    "moba": {"k": 2, "block": 32},
    "nsa_select": {"k": 3, "block": 16},
    "sparse_only": {"k": 32, "recent": 8},
    "gsa_soft": {"k": 32, "recent": 8},
    "top_p": {"k_max": 64, "recent": 8},
    "sliding_sink": {"window": 32},
}
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.gsa"))
SHARED = """attention shared(k = 2, run = 16) { causal
  indexer { heads 2  dim 8  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) }
  select top k blocks(16) by max per queries(run)
  always diagonal
}"""


def compiled(spec: str) -> CompiledAttention:
    """An example by name, or a spec's text, for four heads on eager torch."""
    source = spec if "{" in spec else ROOT / "examples" / f"{spec}.gsa"
    params = PARAMS.get(spec, {})
    return gsa_dsl.compile(source, heads=4, kv_heads=2, head_dim=16, backend="torch", params=params)


def drawn(attention: CompiledAttention, length: int = 200) -> Inputs:
    return workload(attention, length, 8.0, device="cpu", dtype=torch.float32)


def selection_of(attention: CompiledAttention, x: Inputs) -> Selection | None:
    with torch.no_grad():
        aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)[1]
    found: Selection | None = aux.selection
    return found
