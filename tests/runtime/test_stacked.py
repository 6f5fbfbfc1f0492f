"""Indexers of many heads, whose queries are rows or columns of one product: kernels held against the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl.codegen.stacks import products, stacked, stacked_scores
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.inputs import Inputs, make_inputs
from tests.codegen.generated import EXAMPLES, plan_of_example
from tests.runtime.agreement import agree

TILES = KernelConfig(
    tile=4, block_keys=16, backward_keys=16, score_rows=16, score_keys=16, strip=2, scan_keys=32, list_keys=32
)
SHAPE = {"heads": 4, "kv_heads": 2, "head_dim": 16}
SUM = "sum(j) w[t, j] * relu(q[t, j] . k[s])"
MAX = "max(j) w[t, j] * silu(q[t, j] . k[s] + b[j])"
LEARNS = "train indexer with kl(temperature = 0.5)"
SOFT = "logit[t, s] = q[t] . k[s] / sqrt(head_dim) + 0.1 * score[t, s]"


def spec(heads: int, score: str, *more: str, sees: str = "causal", pool: str = "", keys: str = "shared") -> str:
    clauses = more or ("select top 6 tokens", LEARNS)
    indexer = f"indexer {{ heads {heads}  dim 16  keys {keys}  {pool}  score[t, s] = {score} }}"
    return "attention many {\n  " + "\n  ".join((sees, indexer, *clauses)) + "\n}"


SPECS = {
    "as many as columns": spec(16, SUM),
    "not a power of two": spec(12, SUM),
    "more than a product holds": spec(150, SUM),
    "a maximum": spec(12, MAX),
    "a maximum of more than a product holds": spec(150, MAX),
    "both": spec(12, f"({SUM}) * (1 + 0.1 * {MAX})"),
    "a score of its own": spec(12, f"tanh(0.1 * {MAX})"),
    "a sum without the queries": spec(12, f"({MAX}) * (sum(j) sigmoid(b[j])) + mean(j) w[t, j]"),
    "documents": spec(12, f"({SUM}) + {MAX}", sees="causal  documents"),
    "looking ahead": spec(12, MAX, sees="full  documents"),
    "runs of queries": spec(12, SUM, "select top 6 tokens per queries(4)", LEARNS),
    "per kv head": spec(12, SUM, "select top 6 tokens per kv_head", LEARNS, keys="per kv_head"),
    "forced": spec(12, MAX, "select top 6 tokens", "always first 2, last 3", LEARNS, "sink"),
    "blocks": spec(12, MAX, "select top 3 blocks(8) by max", LEARNS),
    "pooled": spec(12, SUM, "select top 3 blocks(8)", "always diagonal", LEARNS, pool="pool mean"),
    "pooled, few": spec(3, MAX, "select top 3 blocks(8)", "always diagonal", LEARNS, pool="pool mean"),
    "through the logits": spec(12, f"({SUM}) + {MAX}", "select top 6 tokens", SOFT, LEARNS),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make(text: str, cache: Path, **changed: Any) -> gsa_dsl.CompiledAttention:
    options = {**SHAPE, "backend": "interpret", "config": TILES, "cache_dir": cache}
    return gsa_dsl.compile(text, **(options | changed))


def inputs_of(attention: gsa_dsl.CompiledAttention, length: int = 21) -> Inputs:
    sizes = {name: attention.recipe[name] for name in SHAPE}
    return make_inputs(attention.spec, batch=2, length=length, seed=1, **sizes)


@pytest.mark.parametrize("name", SPECS)
def test_many_heads(cache: Path, name: str) -> None:
    attention = make(SPECS[name], cache)
    assert "index_grad_kernel" in dir(attention.kernels)
    # Of many heads the interpreter makes many products.
    agree(attention, inputs_of(attention, 7 if "holds" in name else 21))


@pytest.mark.parametrize("name", ["not a power of two", "a maximum"])
def test_warmup(cache: Path, name: str) -> None:
    attention = make(SPECS[name], cache)
    agree(attention, inputs_of(attention), phase="warmup")


@pytest.mark.parametrize("rows", [1, 128])
def test_any_number_of_queries_a_program(cache: Path, rows: int) -> None:
    config = KernelConfig(tile=8, block_keys=16, backward_keys=32, score_rows=rows, score_keys=16, list_keys=32)
    attention = make(SPECS["both"], cache, config=config)
    agree(attention, inputs_of(attention))


@pytest.mark.parametrize("name", ["both", "through the logits"])
def test_sums_in_chunks_of_tiles(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few tiles' sums are in memory at a time, gradients are the same."""
    attention = make(SPECS[name], cache)
    launched = []
    kernel = attention.kernels.index_grad_kernel

    class Counted:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            launched.append(grid[0])
            return kernel[grid]

    monkeypatch.setattr(attention.kernels, "index_grad_kernel", Counted())
    monkeypatch.setattr(attention.kernels, "WORKSPACE", 1)
    agree(attention, inputs_of(attention))
    assert set(launched) == {1}
    assert len(launched) >= 6


def test_gradients_are_the_same_from_run_to_run_but_for_the_keys(cache: Path) -> None:
    attention = make(SPECS["both"], cache)
    x = inputs_of(attention, 9)
    found = []
    for _ in range(2):
        x.requires_grad_()
        _, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        aux.indexer_loss.backward()
        found.append({name: gradient for name, gradient in x.gradients().items() if gradient is not None})
        x.zero_grad()
    for name in ("index.q", "index.w", "index.b"):
        assert torch.equal(found[0][name], found[1][name])


def test_the_products_of_a_program_of_scores() -> None:
    assert products(4, 64, 128) == [(0, 0, 0, True), (2, 0, 1, True)]
    assert products(2, 256, 128) == [(0, 0, 0, False), (0, 128, 0, True), (1, 0, 2, False), (1, 128, 2, True)]
    assert products(1, 16, 16) == [(0, 0, 0, True)]


def test_which_examples_have_many_heads() -> None:
    plans = {name: plan_of_example(name) for name in EXAMPLES}
    assert {name for name, plan in plans.items() if stacked_scores(plan)} == {"dsa"}
    assert {name for name, plan in plans.items() if stacked(plan) and plan.trains} == {"dsa"}
