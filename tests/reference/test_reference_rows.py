"""The reference of some queries at a time is the reference, and its gradients add up to its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.specs import load_spec, small_params

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.gsa"))
BLOCKS_BOTH_WAYS = """attention both {
  full
  indexer { heads 2 dim 8 keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) }
  select top 2 blocks(4) by mean per queries(8)
  train indexer with kl
}"""
LENGTH, PARTS = 45, (slice(0, 16), slice(16, 40), slice(40, 45))


def evaluated(spec: CheckedSpec, x: Inputs, rows: slice | None, phase: str) -> ReferenceResult:
    return reference(spec, x.query, x.key, x.value, **x.keywords(), rows=rows, phase=phase)


def agree(spec: CheckedSpec, phase: str) -> None:
    x = make_inputs(spec, batch=2, length=LENGTH, heads=4, kv_heads=2, head_dim=8, dtype=torch.float64)
    cotangent = torch.randn(2, 4, LENGTH, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients, every = [], []
    for parts in ((None,), PARTS):
        x = x.to(torch.float64).requires_grad_()
        results = [evaluated(spec, x, rows, phase) for rows in parts]
        for rows, result in zip(parts, results, strict=True):
            total = (result.output * cotangent[:, :, rows or slice(0, LENGTH)]).sum()
            (total if result.indexer_loss is None else total + result.indexer_loss).backward()
        gradients.append(x.gradients())
        every.append(results)
    (whole,), some = every
    assert torch.allclose(torch.cat([r.output for r in some], 2), whole.output, rtol=0, atol=1e-12)
    assert torch.allclose(torch.cat([r.lse for r in some], 2), whole.lse, rtol=0, atol=1e-12)
    for rows, result in zip(PARTS, some, strict=True):
        columns = result.selected.shape[-1]
        assert torch.equal(result.selected, whole.selected[..., rows, :columns])
        assert not whole.selected[..., rows, columns:].any()
    if whole.indexer_loss is not None:
        loss = torch.stack([r.indexer_loss for r in some if r.indexer_loss is not None])
        assert torch.allclose(loss.sum(), whole.indexer_loss, rtol=1e-12)
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradients[1][name], gradient, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_parts_make_up_the_whole(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    spec = load_spec(path, small_params(load_spec(path)))
    agree(spec, "sparse")
    if "train" in text:
        agree(spec, "warmup")


def test_parts_of_blocks_seen_both_ways_make_up_the_whole() -> None:
    agree(load_spec(BLOCKS_BOTH_WAYS), "sparse")
