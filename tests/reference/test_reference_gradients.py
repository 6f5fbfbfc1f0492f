"""Derivatives of the reference against finite differences, and which inputs each result may move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from gsa_dsl.reference.dense import reference
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.specs import load_spec, small_params

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.gsa"))
TRAINED = [path for path in EXAMPLES if "train indexer" in path.read_text(encoding="utf-8")]
# every op of the language somewhere, away from its kinks
BUSY = """attention busy {
  causal
  gate value  = tanh(linear(x)) * softplus(linear(x)) - abs(linear(x))  per element
  gate output = where(linear(x) > 0.1, exp(-linear(x)), silu(linear(x)) ^ 2)  per head
  gate output = log(1.5 + sigmoid(linear(x))) / sqrt(2 + relu(linear(x)))  per element
  indexer {
    heads 3  dim 4  keys shared
    score[t, s] = max(j) (w[t, j] * tanh(q[t, j] . k[s])) + mean(j) clamp(q[t, j] . k[s] + b[j], -2, 2) * min(b[j], 0.3)
  }
  select top 3 tokens
  always first 1, last 2
  train indexer with kl(temperature = 0.7)
}"""


def inputs_of(spec: CheckedSpec, length: int = 7) -> Inputs:
    return make_inputs(
        spec, batch=1, length=length, heads=2, kv_heads=1, head_dim=3, dtype=torch.float64
    ).requires_grad_()


def small(path: Path) -> CheckedSpec:
    return load_spec(path, small_params(load_spec(path), 8))


def result_of(
    spec: CheckedSpec, inputs: Inputs, tensors: tuple[Tensor, ...], what: str, selection: Tensor | None
) -> Tensor:
    """``what`` of the reference with the float inputs replaced by ``tensors``, in the order of ``inputs.tensors()``."""
    changed = inputs.replaced(dict(zip(inputs.tensors(), tensors, strict=True)))
    result = reference(spec, changed.query, changed.key, changed.value, selection=selection, **changed.keywords())
    value: Tensor = getattr(result, what)
    return value


@pytest.mark.parametrize("spec", [load_spec(BUSY), *map(small, EXAMPLES)], ids=lambda spec: spec.name)
def test_output_and_loss_agree_with_finite_differences(spec: CheckedSpec) -> None:
    inputs = inputs_of(spec)
    free = reference(spec, inputs.query, inputs.key, inputs.value, **inputs.keywords())
    tensors = tuple(inputs.tensors().values())
    assert gradcheck(lambda *x: result_of(spec, inputs, x, "output", free.selected), tensors, fast_mode=True)
    assert gradcheck(lambda *x: result_of(spec, inputs, x, "lse", free.selected), tensors, fast_mode=True)
    if (
        free.indexer_loss is not None
    ):  # the attention it is fitted to is detached: differences in the index tensors only
        fixed = [x if name.startswith("index.") else x.detach() for name, x in inputs.tensors().items()]
        assert gradcheck(lambda *x: result_of(spec, inputs, x, "indexer_loss", free.selected), fixed, fast_mode=True)


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
@pytest.mark.parametrize("phase", ["sparse", "warmup"])
def test_the_loss_moves_the_index_tensors_alone_and_the_output_the_others(path: Path, phase: str) -> None:
    spec = small(path)
    inputs = inputs_of(spec)
    result = reference(spec, inputs.query, inputs.key, inputs.value, phase=phase, **inputs.keywords())
    assert result.indexer_loss is not None
    for value, moved in ((result.indexer_loss, True), (result.output.square().sum(), False)):
        gradients = torch.autograd.grad(value, list(inputs.tensors().values()), allow_unused=True)
        for name, gradient in zip(inputs.tensors(), gradients, strict=True):
            assert (gradient is not None) == (name.startswith("index.") == moved), name
            assert gradient is None or (gradient.isfinite().all() and gradient.abs().max() > 0), name


@pytest.mark.parametrize("phase", ["sparse", "warmup"])
@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_poison_in_the_indexer_leaves_every_gradient_finite(path: Path, phase: str) -> None:
    spec = small(path)
    inputs = make_inputs(spec, batch=1, length=9, heads=2, kv_heads=1, head_dim=3, dtype=torch.float64, pattern="nan")
    inputs.requires_grad_()
    result = reference(spec, inputs.query, inputs.key, inputs.value, phase=phase, **inputs.keywords())
    assert result.scores is not None
    assert not result.scores.tril().isfinite().all()
    assert result.indexer_loss is not None
    torch.autograd.backward(result.output.sum() + result.indexer_loss)
    assert all(gradient.isfinite().all() for gradient in inputs.gradients().values())
