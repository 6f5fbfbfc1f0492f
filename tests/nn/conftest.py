"""Compiled attentions small enough to run many times on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

import gsa_dsl
from tests.nn.small import HEAD_DIM, HEADS, KV_HEADS, SMALL, Compile

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """``compiled("gsa")``: the example compiled for the torch backend, once a session."""
    cache = tmp_path_factory.mktemp("cache")
    made: dict[str, gsa_dsl.CompiledAttention] = {}

    def get(name: str) -> gsa_dsl.CompiledAttention:
        if name not in made:
            made[name] = gsa_dsl.compile(
                EXAMPLES / f"{name}.gsa",
                heads=HEADS,
                kv_heads=KV_HEADS,
                head_dim=HEAD_DIM,
                backend="torch",
                cache_dir=cache,
                **SMALL[name],
            )
        return made[name]

    return get
