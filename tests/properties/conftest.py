"""Small compiled attentions, one of each for every backend that runs on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import gsa_dsl
from gsa_dsl.options import KernelConfig

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16
# tiles so small that a few dozen positions cross most boundaries
SMALL_TILES = KernelConfig(
    tile=8, block_keys=16, backward_keys=16, score_rows=32, score_keys=32, strip=1, scan_keys=64, list_keys=32
)

INDEXER = """indexer {
    heads 2  dim 16  keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])
  }"""
SPECS = {
    "dense": "attention dense { causal }",
    "window": "attention window { causal  always first 2, last 5 }",
    "recent": "attention recent { causal  always last 9 }",
    "sinks": "attention sinks { causal  always first 3 }",
    "fixed": f"attention fixed(k = 6) {{ causal  {INDEXER}\n select top k tokens  train indexer with kl }}",
    "relu": """attention relu { causal
      gate value = tanh(linear(x)) per head
      indexer { heads 3  dim 16  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) }
      select top 5 tokens  always first 1  train indexer with kl(temperature = 2) }""",
    "adaptive": f"""attention adaptive(k_base = 6, k_min = 2, k_max = 11) {{ causal
      gate value  = sigmoid(linear(x))        per element
      gate output = sigmoid(linear(x) + 0.5)  per element
      {INDEXER}
      budget[t] = clamp(k_base * ema(var(score[t])) / var(score[t]), k_min, k_max)
      select top budget tokens  always last 3  train indexer with kl }}""",
    "maybe_empty": """attention maybe_empty { causal
      indexer { heads 1  dim 16  keys shared  score[t, s] = max(j) q[t, j] . k[s] }
      budget[t] = clamp(max(score[t]), 0, 6)  select top budget tokens  train indexer with kl }""",
    "signed_zeros": """attention signed_zeros { causal
      indexer { heads 1  dim 16  keys shared  score[t, s] = max(j) relu(q[t, j] . k[s]) * (q[t, j] . k[s]) }
      select top 4 tokens }""",
}

Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture(params=["torch", "interpret"], scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def compiled(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """``compiled("adaptive")`` or ``compiled("fixed", k=40)``: a spec of ``SPECS``, for the backend of the test."""
    cache = tmp_path_factory.mktemp("cache")

    def make(name: str, **params: int | float) -> gsa_dsl.CompiledAttention:
        return gsa_dsl.compile(
            SPECS[name],
            heads=HEADS,
            kv_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            backend=backend,
            config=SMALL_TILES,
            cache_dir=cache,
            params=params,
        )

    return make
