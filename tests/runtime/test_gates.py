"""Gates on every target, of every granularity, from projections and given tensors: all as the reference says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.inputs import make_inputs
from tests.runtime.agreement import agree

TILES = KernelConfig(tile=4, block_keys=16, backward_keys=16, score_rows=16, score_keys=16, strip=1, scan_keys=32)
SHAPE = {"heads": 4, "kv_heads": 2, "head_dim": 16}
EVERY_GATE = """
  gate query  = 2 * sigmoid(linear(x)) per head
  gate query  = 1 + given(late) per element
  gate key    = 1 + 0.5 * tanh(linear(x, features = 8)) per element starts identity
  gate value  = sigmoid(linear(x) + given(mask)) per shared
  gate output = given(mask) * sigmoid(linear(x)) * given(mask) per shared
  gate output = sigmoid(linear(x) - 1) per element
  gate output = silu(given(last)) per head
"""
CHOICE = """
  indexer { heads 2  dim 16  keys shared  score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / dim) }
  select top 5 tokens
  always last 2
  train indexer with kl
"""
WINDOW = "always first 2, last 5"
BACKENDS = pytest.mark.parametrize("backend", ["torch", "interpret"])


def compiled(folder: Path, *clauses: str, **options: Any) -> gsa_dsl.CompiledAttention:
    text = "\n".join(["attention gates { causal", *clauses, "}"])
    return gsa_dsl.compile(text, **{**SHAPE, "config": TILES, "cache_dir": folder, **options})


def inputs_of(attention: gsa_dsl.CompiledAttention, length: int, **options: Any) -> Any:
    sizes = {name: attention.meta[name] for name in (*SHAPE, "value_dim")}
    return make_inputs(attention.spec, **{"batch": 2, "length": length, **sizes, **options})


@BACKENDS
@pytest.mark.parametrize("length", [1, 37])
@pytest.mark.parametrize("mask", ["", WINDOW, CHOICE], ids=["dense", "window", "choice"])
def test_every_gate_at_once(backend: str, mask: str, length: int, tmp_path: Path) -> None:
    attention = compiled(tmp_path, EVERY_GATE, mask, backend=backend)
    names = {"query", "late", "key", "value", "mask", "output", "output_2", "last"}
    assert {gate["name"] for gate in attention.meta["gates"]} == names
    x = inputs_of(attention, length)
    assert x.gates["mask"].shape == (2, length)
    assert x.gates["late"].shape == x.query.shape
    assert x.gates["key"].shape == x.key.shape
    agree(attention, x)


@BACKENDS
@pytest.mark.parametrize("granularity", ["element", "head", "shared"])
@pytest.mark.parametrize("target", ["query", "key", "value", "output"])
def test_each_gate_beyond_a_block_of_positions(target: str, granularity: str, backend: str, tmp_path: Path) -> None:
    attention = compiled(tmp_path, f"gate {target} = sigmoid(linear(x)) per {granularity}", backend=backend)
    agree(attention, inputs_of(attention, 70, batch=1))


@BACKENDS
def test_gates_of_query_and_key_act_on_the_logits_alone(backend: str, tmp_path: Path) -> None:
    """The attention of gated operands is that of operands gated beforehand; the indexer chooses as without."""
    gated = compiled(
        tmp_path, "gate query = given(a) per element", "gate key = given(b) per head", CHOICE, backend=backend
    )
    plain = compiled(tmp_path, CHOICE, backend=backend)
    x = inputs_of(gated, 40)
    output, aux = gated(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    query, key = x.query * x.gates["a"], x.key * x.gates["b"][..., None]
    expected, before = plain(query, key, x.value, index=x.index, return_aux=True)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(aux.lse, before.lse, rtol=1e-5, atol=1e-5)
    assert torch.equal(aux.selection.mask(), before.selection.mask())
    torch.testing.assert_close(aux.indexer_loss, before.indexer_loss, rtol=1e-5, atol=1e-6)


@BACKENDS
def test_any_layout_of_gated_queries(backend: str, tmp_path: Path) -> None:
    attention = compiled(tmp_path, EVERY_GATE, backend=backend)
    agree(attention, inputs_of(attention, 21).strided())


def test_inference_streams_gated_queries_too(tmp_path: Path) -> None:
    attention = compiled(tmp_path, EVERY_GATE, CHOICE, backend="interpret")
    x = inputs_of(attention, 37)
    with torch.no_grad():
        alone = attention(x.query, x.key, x.value, **x.keywords())
    exact = attention.reference(x.query, x.key, x.value, **x.keywords())
    torch.testing.assert_close(alone.double(), exact.output, rtol=1e-5, atol=1e-5)


def test_a_given_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    attention = compiled(tmp_path, "gate value = sigmoid(given(mask)) per shared", backend="torch")
    x = inputs_of(attention, 5)
    with pytest.raises(
        ValueError, match=r"gates\['mask'\] has shape \[2, 2, 5\], expected \[2, 5\]: \[batch, length\]"
    ):
        attention(x.query, x.key, x.value, gates={"mask": torch.zeros(2, 2, 5)})
    with pytest.raises(ValueError, match=r"gates has no 'mask'; the spec asks for \['mask'\]"):
        attention(x.query, x.key, x.value)


@BACKENDS
@pytest.mark.parametrize("dims", [(32, 16), (24, 40)], ids=str)
@pytest.mark.parametrize("mask", ["", WINDOW, CHOICE], ids=["dense", "window", "choice"])
def test_values_of_another_width(backend: str, mask: str, dims: tuple[int, int], tmp_path: Path) -> None:
    head_dim, value_dim = dims
    attention = compiled(tmp_path, EVERY_GATE, mask, backend=backend, head_dim=head_dim, value_dim=value_dim)
    assert f"value_dim={value_dim}" in repr(attention)
    x = inputs_of(attention, 37)
    assert x.gates["output_2"].shape == (2, 4, 37, value_dim)
    agree(attention, x)
    assert attention(x.query, x.key, x.value, **x.keywords()).shape == (2, 4, 37, value_dim)


def test_values_of_another_width_in_a_warm_up(tmp_path: Path) -> None:
    attention = compiled(tmp_path, CHOICE, backend="interpret", head_dim=32, value_dim=16)
    agree(attention, inputs_of(attention, 21), phase="warmup")


def test_widths_are_told_apart(tmp_path: Path) -> None:
    attention = compiled(tmp_path, backend="torch", head_dim=16, value_dim=8)
    x = inputs_of(attention, 5)
    with pytest.raises(ValueError, match=r"value has shape .* expected .*: \[batch, kv_heads, length, value_dim\]"):
        attention(x.query, x.key, x.key)
    for width in (0, 257):
        with pytest.raises(ValueError, match="value_dim must be"):
            compiled(tmp_path, backend="torch", value_dim=width)
    assert compiled(tmp_path, backend="torch", value_dim=16).path == compiled(tmp_path, backend="torch").path


def test_a_wide_value_costs_what_one_counts(tmp_path: Path) -> None:
    attention = compiled(tmp_path, backend="torch", head_dim=16, value_dim=8)
    row = next(row for row in attention.cost(L=100, B=3) if row.construct == "attention")
    assert row.flops == 3 * 4 * 5050 * 2 * (16 + 8)
