"""Modules of specs that choose blocks, or for every kv head: their projections, and what reaches them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gsa_dsl

SPEC = """attention blocks {{ {sees}
  indexer {{ heads 2  dim 8  keys {keys}  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s] + b[j]) }}
  select top 2 blocks(4) by max per kv_head
  always diagonal
  train indexer with kl
}}"""
OWN = """attention own { causal
  indexer { keys attention  pool mean  score[t, s] = sum(j) q[t, j] . k[s] }
  select top 2 blocks(4) per kv_head
  always diagonal
}"""
SHAPE = {"heads": 4, "kv_heads": 2, "head_dim": 8, "backend": "torch"}


@pytest.mark.parametrize(("keys", "of_keys"), [("shared", 8), ("per kv_head", 16)])
def test_every_kv_head_has_its_own_part_of_the_projections(keys: str, of_keys: int, tmp_path: Path) -> None:
    text = SPEC.format(sees="causal", keys=keys)
    layer = gsa_dsl.compile(text, cache_dir=tmp_path, **SHAPE).module(24)
    sizes = {name: projection.out_features for name, projection in layer.index_proj.items()}
    assert sizes == {"q": 2 * 2 * 8, "k": of_keys, "w": 2 * 2}
    assert layer.index_bias is not None
    x = torch.randn(2, 30, 24)
    loss = layer(x).square().mean() + gsa_dsl.indexer_loss(layer)
    loss.backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0, name
    # A kv head's weights move its own choice alone.
    before = layer(x, return_aux=True)[1].selection.mask()
    with torch.no_grad():
        layer.index_proj["q"].weight[:16].neg_()
    after = layer(x, return_aux=True)[1].selection.mask()
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.equal(before[:, 0], after[:, 0])


def test_an_attention_that_compares_its_own_keys_has_no_indexer(tmp_path: Path) -> None:
    layer = gsa_dsl.compile(OWN, cache_dir=tmp_path, **SHAPE).module(24)
    assert not layer.index_proj
    assert layer.index_bias is None
    layer(torch.randn(1, 30, 24)).square().mean().backward()
    assert layer.q_proj.weight.grad is not None
    with pytest.raises(ValueError, match="index_rope=True, but the spec has no indexer with a q and a k"):
        layer.compiled.module(24, index_rope=True)


@pytest.mark.parametrize("keys", ["shared", "per kv_head"])
def test_rotary_positions_of_the_indexer_restart_with_every_document(keys: str, tmp_path: Path) -> None:
    compiled = gsa_dsl.compile(SPEC.format(sees="causal documents", keys=keys), cache_dir=tmp_path, **SHAPE)
    layer = compiled.module(24, index_rope=True).eval()
    x = torch.randn(1, 32, 24)
    packed = layer(x, documents=torch.tensor([[0] * 12 + [1] * 20]))
    alone = [layer(part, documents=torch.zeros(1, part.shape[1], dtype=torch.int64)) for part in x.split((12, 20), 1)]
    torch.testing.assert_close(packed, torch.cat(alone, 1), rtol=0, atol=1e-5)
