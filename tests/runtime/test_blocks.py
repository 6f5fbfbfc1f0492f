"""Blocks, choices per kv head, runs of queries, pooled and own keys: kernels and eager torch, called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime.validate import OperandError
from gsa_dsl.testing.inputs import Inputs, make_inputs
from tests.runtime.agreement import agree

SHAPE = {"heads": 4, "kv_heads": 2, "head_dim": 16}
# Steps of the attention's walk wider and narrower than a block, score tiles too.
WIDE = KernelConfig(
    tile=8, block_keys=32, backward_keys=16, score_rows=16, score_keys=32, strip=1, scan_keys=32, list_keys=16
)
NARROW = KernelConfig(
    tile=4, block_keys=16, backward_keys=16, score_rows=32, score_keys=16, strip=2, scan_keys=64, list_keys=32
)
Compile = Callable[..., gsa_dsl.CompiledAttention]


def spec(select: str, *more: str, keys: str = "shared", pool: str = "", sees: str = "causal", own: bool = False) -> str:
    """A spec whose indexer compares as asked for."""
    settings = "keys attention" if own else f"heads 2  dim 16  keys {keys}"
    score = "q[t, j] . k[s]" if own else "sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])"
    pooled = f"pool {pool}" if pool else ""
    clauses = "\n  ".join((sees, f"indexer {{ {settings} {pooled} score[t, s] = sum(j) {score} }}", select, *more))
    return f"attention blocks {{\n  {clauses}\n}}"


LEARNS = "train indexer with kl(temperature = 0.5)"
SOFT = "logit[t, s] = q[t] . k[s] / sqrt(head_dim) + log(score[t, s])"
ADAPTIVE = "budget[t] = clamp(2 * ema(var(score[t]), init = 0.02) / var(score[t]), 1, 3)"
SPECS = {
    "moba": spec("select top 2 blocks(16) per kv_head", "always diagonal", pool="mean", own=True),
    "own keys, elementwise largest": spec(
        "select top 2 blocks(4) per kv_head", "always first 1, last 2", pool="max", own=True
    ),
    "own keys, tokens": spec("select top 7 tokens per kv_head", own=True),
    "msa": spec("select top 2 blocks(8) by max per kv_head", "always diagonal", "sink", LEARNS, keys="per kv_head"),
    "mean of wide blocks": spec("select top 1 blocks(32) by mean", LEARNS),
    "sum of narrow blocks": spec("select top 3 blocks(4) by sum", "always first 1", LEARNS),
    "pooled, trained": spec("select top 2 blocks(8)", "always diagonal", LEARNS, pool="mean"),
    "largest pooled of each kv head": spec(
        "select top 2 blocks(8) per kv_head", "always last 2", LEARNS, pool="max", keys="per kv_head"
    ),
    "shared keys, a choice a kv head": spec("select top 6 tokens per kv_head", "always last 2", LEARNS),
    "runs of queries": spec("select top 5 tokens per queries(4)", "always last 6", LEARNS),
    "runs longer than blocks": spec("select top 2 blocks(8) by max per queries(16)", "always last 2", LEARNS),
    "adaptive": spec(ADAPTIVE, "select top budget blocks(8) by max per queries(2)", LEARNS),
    "both ways": spec("select top 2 blocks(8) by mean", "always first 1, last 1", LEARNS, sees="full"),
    "both ways, pooled": spec("select top 2 blocks(8)", SOFT, sees="full", pool="mean"),
    "packed": spec(
        "select top 2 blocks(8) by max per kv_head",
        "always first 1, diagonal",
        LEARNS,
        sees="causal documents",
        keys="per kv_head",
    ),
    "packed, both ways": spec("select top 2 blocks(8) by mean", "always last 1", LEARNS, sees="full documents"),
    "soft": spec("select top 2 blocks(8) by max per kv_head", "always diagonal", SOFT, keys="per kv_head"),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """``compiled(text, backend, ...)``, each once."""
    cache = tmp_path_factory.mktemp("cache")

    def make(text: str, backend: str, **changed: Any) -> gsa_dsl.CompiledAttention:
        config = WIDE if backend == "interpret" else None
        return gsa_dsl.compile(text, **{**SHAPE, "backend": backend, "config": config, "cache_dir": cache, **changed})

    return make


def inputs_of(attention: gsa_dsl.CompiledAttention, length: int, **options: Any) -> Inputs:
    sizes = {name: attention.recipe[name] for name in SHAPE}
    return make_inputs(attention.spec, **({"batch": 1, "length": length} | sizes | options))


@pytest.mark.parametrize("name", SPECS)
def test_eager_torch_means_what_the_reference_says(compiled: Compile, name: str) -> None:
    attention = compiled(SPECS[name], "torch")
    agree(attention, inputs_of(attention, 1))
    agree(attention, inputs_of(attention, 43, batch=2))
    agree(attention, inputs_of(attention, 43, batch=2, pattern="ties"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_kernels_mean_what_the_reference_says(compiled: Compile, name: str) -> None:
    attention = compiled(SPECS[name], "interpret")
    agree(attention, inputs_of(attention, 37, pattern="ties"))


@pytest.mark.parametrize("name", ["moba", "mean of wide blocks", "packed"])
def test_tiles_may_be_narrower_than_blocks(compiled: Compile, name: str) -> None:
    attention = compiled(SPECS[name], "interpret", config=NARROW)
    agree(attention, inputs_of(attention, 35))


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("unit", [8, 128])
def test_a_kernel_pools_keys_as_torch_does(pool: str, unit: int, tmp_path: Path) -> None:
    """In one step or several; in a short last block and with a NaN among the keys too."""
    text = spec(f"select top 1 blocks({unit}) per kv_head", pool=pool, own=True, sees="full")
    interpreted, eager = (
        gsa_dsl.compile(text, **SHAPE, backend=backend, cache_dir=tmp_path).kernels
        for backend in ("interpret", "torch")
    )
    k = torch.randn(3, 2 * unit + 5, 16, generator=torch.Generator().manual_seed(4))
    k[0, unit + 1, 3] = k[2, -1, 0] = torch.nan
    torch.testing.assert_close(interpreted.pooled_keys(k), eager.pooled_keys(k), equal_nan=True)


def test_one_position(compiled: Compile) -> None:
    for name in ("moba", "msa", "runs longer than blocks"):
        attention = compiled(SPECS[name], "interpret")
        agree(attention, inputs_of(attention, 1))


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_many_heads_are_compared(compiled: Compile, backend: str) -> None:
    shape = {"heads": 18, "kv_heads": 2, "head_dim": 8}
    attention = compiled(SPECS["moba"], backend, **shape)
    agree(attention, inputs_of(attention, 33))


@pytest.mark.parametrize("backend", ["torch", "interpret"])
@pytest.mark.parametrize("name", ["msa", "pooled, trained"])
def test_the_warm_up_fits_every_key_that_is_seen(compiled: Compile, name: str, backend: str) -> None:
    attention = compiled(SPECS[name], backend)
    agree(attention, inputs_of(attention, 21), phase="warmup")


@pytest.mark.parametrize("name", ["moba", "msa", "runs longer than blocks", "adaptive"])
def test_chunks_and_streaming_change_nothing(compiled: Compile, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attention = compiled(SPECS[name], "interpret")
    x, module = inputs_of(attention, 70, pattern="ties"), attention.kernels

    def run() -> tuple[Tensor, ...]:
        output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        return output, aux.lse, aux.budget, aux.selection.mask(), attention(x.query, x.key, x.value, **x.keywords())

    whole = run()
    assert torch.equal(whole[0], whole[-1])
    monkeypatch.setattr(module, "WORKSPACE", 1)
    rows = -(-70 // attention.spec.selection.queries)
    assert module.chunk_rows(1, 70) == 16
    assert rows > 16 or name == "runs longer than blocks"
    for one, other in zip(whole, run(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["runs of queries", "runs longer than blocks", "msa"])
def test_torch_in_chunks_is_torch_in_one(compiled: Compile, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attention = compiled(SPECS[name], "torch")
    x, module = inputs_of(attention, 45, pattern="ties"), attention.kernels

    def run() -> tuple[Tensor, ...]:
        output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        return output, aux.lse, aux.budget, aux.selection.mask()

    whole = run()
    monkeypatch.setattr(module, "CHUNK", 4 * 45 * 7)
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("backend", ["torch", "interpret"])
@pytest.mark.parametrize("name", ["moba", "msa", "runs of queries"])
def test_a_choice_can_be_given(compiled: Compile, name: str, backend: str) -> None:
    attention = compiled(SPECS[name], backend)
    x = inputs_of(attention, 29, batch=2)
    output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    mask = aux.selection.mask()
    assert (
        mask.shape == aux.selection.shape == attention.reference(x.query, x.key, x.value, **x.keywords()).selected.shape
    )
    for choice in (aux.selection, mask):
        again = attention(x.query, x.key, x.value, **x.keywords(), selection=choice)
        torch.testing.assert_close(again, output, rtol=0, atol=1e-6)
    # Blocks that a query does not see, or sees in part, show it nothing more.
    everything = attention(x.query, x.key, x.value, **x.keywords(), selection=torch.ones_like(mask))
    dense = torch.nn.functional.scaled_dot_product_attention(x.query, x.key, x.value, is_causal=True, enable_gqa=True)
    if "sink" not in SPECS[name]:
        torch.testing.assert_close(everything, dense, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_named(compiled: Compile) -> None:
    attention = compiled(SPECS["msa"], "torch")
    x = inputs_of(attention, 20)
    with pytest.raises(
        OperandError, match=r"index\['q'\] has shape .* \[batch, kv_heads, index heads, length, index dim\]"
    ):
        attention(x.query, x.key, x.value, index={**x.index, "q": x.index["q"][:, 0]}, extras=x.extras)
    mask = torch.ones(1, 20, 20, dtype=torch.bool)
    with pytest.raises(OperandError, match=r"expected \[1, 2, 20, 3\]: \[batch, kv_heads, length, blocks of 8\]"):
        attention(x.query, x.key, x.value, **x.keywords(), selection=mask)
    own = compiled(SPECS["moba"], "torch")
    with pytest.raises(OperandError, match=r"index has '[kq]', '[kq]'"):
        own(x.query, x.key, x.value, index={name: x.index[name] for name in ("q", "k")})


@pytest.mark.parametrize("name", SPECS)
def test_a_later_token_changes_no_earlier_row(compiled: Compile, name: str) -> None:
    if "full" in SPECS[name]:
        pytest.skip("it looks ahead")
    attention = compiled(SPECS[name], "torch")
    x = inputs_of(attention, 41)
    other = inputs_of(attention, 41, seed=1)
    cut = 27
    mixed = {}
    for key, tensor in x.tensors().items():
        axis = 1 if key == "index.k" and tensor.dim() == 3 else tensor.dim() - (1 if key == "index.w" else 2)
        timed = (key.startswith(("index.", "gates.")) and key != "index.b") or key in ("query", "key", "value")
        parts = [tensor.narrow(axis, 0, cut), other.tensors()[key].narrow(axis, cut, 41 - cut)] if timed else [tensor]
        mixed[key] = torch.cat(parts, axis if timed else 0)
    y = x.replaced(mixed)
    before, after = (
        attention(
            z.query,
            z.key,
            z.value,
            **z.keywords() | {"documents": x.documents} if x.documents is not None else z.keywords(),
            return_aux=True,
        )
        for z in (x, y)
    )
    assert torch.equal(before[0][:, :, :cut], after[0][:, :, :cut])
    assert torch.equal(before[1].budget[..., :cut], after[1].budget[..., :cut])
    assert not torch.equal(before[0], after[0])
