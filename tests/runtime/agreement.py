"""A call held against the reference: outputs, what comes with them, and every gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import gsa_dsl
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.poison import PoisonedMemory


def agree(attention: gsa_dsl.CompiledAttention, x: Inputs, tolerance: float = 2e-5, **options: Any) -> gsa_dsl.Aux:
    """Output, what comes with it and every gradient are those of the reference; returns what came with it."""
    x.requires_grad_()
    with PoisonedMemory():
        output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True, **options)
        cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(7)).to(output.dtype)
        _backward(output, aux.indexer_loss, cotangent)
    got = x.gradients()
    x.zero_grad()
    exact = attention.reference(x.query, x.key, x.value, **x.keywords(), **options)
    _backward(exact.output, exact.indexer_loss, cotangent.double())
    pairs = {"output": (output, exact.output), "lse": (aux.lse, exact.lse)}
    pairs |= {f"gradient of {name}": (gradient, x.gradients()[name]) for name, gradient in got.items()}
    if exact.indexer_loss is not None:
        assert aux.indexer_loss is not None
        pairs["loss"] = (aux.indexer_loss, exact.indexer_loss)
    for name, (one, other) in pairs.items():
        scale = other.detach().double().nan_to_num(posinf=0, neginf=0).abs().amax().clamp(min=1e-3).item()
        torch.testing.assert_close(
            one.double(),
            other.double(),
            rtol=0,
            atol=tolerance * max(scale, 1.0),
            msg=lambda m, name=name: f"{name}: {m}",
        )
        assert other.abs().sum() > 0 or x.query.shape[2] == 1  # alone, a key gets no gradient
    if aux.selection is not None:
        assert torch.equal(aux.selection.mask(), exact.selected)
    return aux


def _backward(output: Tensor, loss: Tensor | None, cotangent: Tensor) -> None:
    if loss is None:
        torch.autograd.backward(output, cotangent)
    else:
        torch.autograd.backward([output, loss], [cotangent, loss.new_tensor(0.7)])


def begins_with_what_all_chose(module: Any, lists: Any) -> None:
    """Lists name what every query of a tile chose before the rest, each in order of position; some tile has both."""
    place = torch.arange(lists.pos.shape[2])
    listed, first = place < lists.count[..., None], place < lists.common[..., None]
    every = (lists.word.to(torch.int64) & ((1 << module.TILE.value) - 1)) == (1 << module.TILE.value) - 1
    assert torch.equal(every & listed, first)
    for part in (first, listed & ~first):
        inner = part[..., 1:] & part[..., :-1]
        assert (lists.pos.diff(dim=2)[inner] > 0).all()
    assert ((lists.common > 0) & (lists.common < lists.count)).any()
