"""The formulas of ``gsa explain`` count what the generated kernels do: their loops are walked and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.sema.cost import cost
from gsa_dsl.testing.inputs import make_inputs
from tests.codegen.generated import ROOT

TILES = KernelConfig(
    tile=4, block_keys=16, backward_keys=16, score_rows=16, score_keys=16, strip=2, scan_keys=64, list_keys=16
)
SHAPE = {"heads": 6, "kv_heads": 2, "head_dim": 16}
# Budgets that every row spends: formulas of adaptive ones count the largest.
SPECS: dict[str, dict[str, int]] = {
    "dense": {},
    "sliding_sink": {"window": 9, "sinks": 2},
    "gsa": {"k_base": 7, "k_min": 7, "k_max": 7},
    "sparse_only": {"k": 5, "recent": 3},
}
Compile = Callable[[str], gsa_dsl.CompiledAttention]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    cache = tmp_path_factory.mktemp("cache")

    def make(name: str) -> gsa_dsl.CompiledAttention:
        path = ROOT / "examples" / f"{name}.gsa"
        return gsa_dsl.compile(
            path, **SHAPE, backend="interpret", config=TILES, cache_dir=cache, params=SPECS.get(name, {})
        )

    return make


def run(attention: gsa_dsl.CompiledAttention, length: int) -> None:
    x = make_inputs(attention.spec, batch=1, length=length, **SHAPE)
    with torch.no_grad():
        attention(x.query, x.key, x.value, **x.keywords())


def spied(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, see: Callable[[Any, tuple[Any, ...]], None]) -> None:
    """Tell ``see`` the result and the arguments of every call of a generated function."""
    original = getattr(module, name)

    def call(*args: Any) -> Any:
        result = original(*args)
        see(result, args)
        return result

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("name", SPECS)
def test_attention_walks_the_pairs_that_are_counted(
    compiled: Compile, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    attention, length = compiled(name), 45
    module, pairs = attention.kernels, 0
    group, padded = module.GROUP.value, module.GROUP_PAD.value

    def see(result: Any, args: tuple[Any, ...]) -> None:
        nonlocal pairs
        t = args[3].handle.data
        real = (t < length) & (np.arange(len(t)) % padded < group)
        pairs += int((result[-1].handle.data & real[:, None]).sum())

    def see_whole(result: Any, args: tuple[Any, ...]) -> None:
        nonlocal pairs
        tile, block = int(args[0].handle.data.item()), int(args[-1])
        queries = min(module.TILE.value, length - tile * module.TILE.value)
        pairs += int(result[1].handle.data.item()) * block * queries * group

    spied(monkeypatch, module, "key_block", see)
    if hasattr(module, "whole_steps"):
        spied(monkeypatch, module, "whole_steps", see_whole)
    run(attention, length)
    assert pairs == SHAPE["heads"] * cost(attention.spec).attended(length)


def test_the_indexer_scores_the_pairs_that_are_counted(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compiled("sparse_only")
    figures = {length: attention.cost(length)[0] for length in (64, 96)}
    assert {row.construct for row in figures.values()} == {"indexer"}
    for length in figures:
        tiles = 0

        def see(result: Any, args: tuple[Any, ...]) -> None:
            nonlocal tiles
            tiles += 1

        with monkeypatch.context() as patch:
            spied(patch, attention.kernels, "score_tile", see)
            run(attention, length)
        visible = length * (length + 1) // 2
        # Whole tiles: those below the diagonal, and of those on it the half that no query sees.
        assert tiles * TILES.score_rows * TILES.score_keys == visible + length * (TILES.score_rows - 1) // 2
    # Beside what is done for each pair there is the sigmoid of the weights, for each query.
    short, long = (figures[length].flops for length in figures)
    of_a_pair = (long - short * 96 / 64) / (96 * 97 / 2 - 64 * 65 / 2 * 96 / 64)
    indexer = attention.spec.indexer
    assert indexer is not None
    # A product of dim numbers, / sqrt(dim), + b, sigmoid, * weight, and the sum, for each head.
    assert of_a_pair == indexer.heads * (2 * indexer.dim + 5)
