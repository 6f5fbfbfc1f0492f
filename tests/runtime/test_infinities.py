"""Finite scores that are made of infinities: products that overflow, infinite operands, heads that lose a maximum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gsa_dsl
from gsa_dsl.testing.inputs import Inputs, make_inputs
from tests.codegen.generated import SMALL_TILES
from tests.runtime.agreement import agree

DOT = "q[t, j] . k[s] / 16"
SCORES = {
    "a bounded term": f"sum(j) w[t, j] * sigmoid({DOT} + b[j])",
    "a steep term": f"sum(j) w[t, j] * exp(-abs({DOT}) * abs({DOT}))",
    "a quotient": f"sum(j) w[t, j] / (1 + exp(-{DOT}))",
    "a saturated sum": f"tanh(sum(j) w[t, j] * relu({DOT} + b[j]))",
    "two saturated sums": f"tanh(sum(j) exp(w[t, j]) * abs({DOT})) + sigmoid(max(j) w[t, j] * {DOT})",
    "heads that lose": f"max(j) min(exp(w[t, j]) * {DOT}, 3 * sigmoid(w[t, j]))",
}
TRAINED = "train indexer with kl"
READ = "logit[t, s] = q[t] . k[s] / 4 + score[t, s]"


def check(score: str, backend: str, cache: Path, large: float, heads: int = 3, tail: str = TRAINED) -> None:
    """The gradients of a score with ``large`` operands are the reference's, when every key may be chosen."""
    indexer = f"indexer {{ heads {heads}  dim 16  keys shared  score[t, s] = {score} }}"
    text = f"attention small {{ causal  {indexer}  select top 40 tokens  {tail} }}"
    config = SMALL_TILES if backend == "interpret" else None
    made = gsa_dsl.compile(text, heads=4, kv_heads=2, head_dim=16, backend=backend, config=config, cache_dir=cache)
    x = make_inputs(made.spec, batch=1, length=19, heads=4, kv_heads=2, head_dim=16)
    agree(made, with_extremes(x, large))


def with_extremes(x: Inputs, large: float) -> Inputs:
    """A few operands with a ``large`` feature: products of two overflow, in one head of a query and never in head 2."""
    assert x.index is not None
    q, k = (torch.where(x.index[name] == 0, 0.5, x.index[name]) for name in ("q", "k"))
    q[:, 2] = q[:, 2].abs()
    q[0, 0, 7, 0] = large
    q[0, 0, 12, 0] = -large
    q[0, 1, 15, 0] = large
    k[0, 4, 0] = large
    k[0, 9, 0] = large
    return x.replaced({"index.q": q, "index.k": k})


@pytest.mark.parametrize("large", [1e30, torch.inf])
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_what_is_saturated_passes_no_gradient_and_poisons_none(
    backend: str, name: str, large: float, tmp_path: Path
) -> None:
    check(SCORES[name], backend, tmp_path, large)


@pytest.mark.parametrize("backend", ["torch", "interpret"])
@pytest.mark.parametrize(("heads", "tail"), [(9, TRAINED), (3, READ)])
def test_with_many_heads_and_through_the_logits(backend: str, heads: int, tail: str, tmp_path: Path) -> None:
    check(SCORES["two saturated sums"], backend, tmp_path, 1e30, heads, tail)
