"""Inputs to take times on: neighbouring queries choose alike, as in real models; how alike is set and measured."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.tuning.launches import left_out

if TYPE_CHECKING:
    from gsa_dsl.compiler import CompiledAttention
    from gsa_dsl.results import Selection

_PROBE = 13  # a length that no other size of a tensor is taken for
_RUNS, _RUN = 48, 9  # how many runs of queries are looked at, and how long they are
_STEADIEST = 24.0  # log2 of the longest memory, in tokens
_NOT_CHOOSING = ("attend_fwd_kernel", "indexer_loss_kernel")


def workload(
    compiled: CompiledAttention,
    length: int,
    memory: float = 0.0,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cuda",
    seed: int = 0,
) -> Inputs:
    """Everything a call of ``compiled`` takes, batch 1, normally distributed, drawn on ``device`` (not if 'meta').

    What decides the choice drifts along the sequence with a memory of ``memory`` tokens (:func:`drifting`); the
    indexer's biases are 0. Whatever else a call takes looks as in :func:`gsa_dsl.testing.inputs.make_inputs`.
    """
    sizes = {name: compiled.meta[name] for name in ("heads", "kv_heads", "head_dim", "value_dim")}
    short = make_inputs(compiled.spec, batch=1, length=_PROBE, dtype=dtype, **sizes)
    stored = torch.device(device).type != "meta"
    generator = torch.Generator(device).manual_seed(seed) if stored else None

    def draw(name: str, like: Tensor) -> Tensor:
        along = not name.startswith("extras.")  # learned tensors have no axis of positions
        shape = [length if size == _PROBE and along else size for size in like.shape]
        if name == "index.b":
            return torch.zeros(shape, device=device, dtype=like.dtype)
        return torch.randn(shape, device=device, generator=generator).to(like.dtype)

    named = short.tensors()
    made = short.replaced({name: draw(name, x) for name, x in named.items()})
    # What has no gradient, as the state of running means: values as they are, stretched where they go along positions.
    others: dict[str, Any] = {
        field.name: _stretched(value, length).to(device)
        for field in dataclasses.fields(short)
        if field.name not in named and isinstance(value := getattr(short, field.name), Tensor)
    }
    return drifting(dataclasses.replace(made, **others), memory)


def drifting(inputs: Inputs, memory: float) -> Inputs:
    """``inputs``, drawn without memory, with what asks for keys made to drift: the indexer's queries and weights.

    Without an indexer's the attention's own queries drift, which choose where a spec compares its own keys.
    """
    if memory <= 0:
        return inputs
    asks = ("index.q", "index.w") if inputs.index else ("query",)
    moved = {name: _drifted(x, name != "index.w", memory) for name, x in inputs.tensors().items() if name in asks}
    return inputs.replaced(moved)


def _drifted(x: Tensor, has_features: bool, memory: float) -> Tensor:
    """``x`` [batch, heads, .., length, features] or [batch, heads, .., length], every feature drifting along it."""
    moved = torch.empty_like(x, memory_format=torch.contiguous_format)
    for head in range(x.shape[1]):  # one at a time: the transform of all at once fills a GPU
        along = x[:, head].float()
        moved[:, head] = (
            drift(along.transpose(-2, -1), memory).transpose(-2, -1) if has_features else drift(along, memory)
        )
    return moved


def _stretched(x: Tensor, length: int) -> Tensor:
    """Every axis as long as the probe made ``length`` long, each entry repeated."""
    for axis, size in enumerate(x.shape):
        if size == _PROBE:
            x = x.index_select(axis, torch.arange(length) * _PROBE // length)
    return x


def drift(noise: Tensor, memory: float) -> Tensor:
    """White noise made into a stationary first-order autoregression along the last axis (0: left as it is)."""
    if memory <= 0:
        return noise
    decay, length = math.exp(-1.0 / memory), noise.shape[-1]
    half = torch.fft.fftfreq(length, device=noise.device, dtype=torch.float64) * math.pi
    # |1 - decay exp(i w)| without the difference of 1 and decay^2, of which a long memory leaves nothing.
    gain = 1.0 / torch.sqrt(math.expm1(-1.0 / memory) ** 2 + 4 * decay * torch.sin(half) ** 2)
    gain = (gain / gain.square().mean().sqrt())[: length // 2 + 1].to(noise.dtype)
    drifting: Tensor = torch.fft.irfft(torch.fft.rfft(noise) * gain, n=length)
    return drifting


def overlap(selection: Selection) -> float:
    """Mean Jaccard index of neighbouring queries' choices, over runs of queries in the second half of the sequence."""
    length = selection.length
    shared = either = 0
    last = max(length - _RUN, 0)
    for start in sorted({int(t) for t in torch.linspace(min(length // 2, last), last, _RUNS)}):
        chosen = selection.mask(slice(start, min(start + _RUN, length)))
        one, next_one = chosen[..., :-1, :], chosen[..., 1:, :]
        shared += int((one & next_one).sum())
        either += int((one | next_one).sum())
    return shared / max(either, 1)


def overlap_of(compiled: CompiledAttention, inputs: Inputs) -> float | None:
    """The overlap of the choices made on ``inputs``; None where nothing is chosen."""
    query = inputs.query
    suited = compiled._suited_to(query.dtype, query.shape[2], query.device)
    # The choice alone is of interest, and attention and loss take the longer the less alike it is.
    unneeded = left_out(suited.kernels, _NOT_CHOOSING) if hasattr(suited.kernels, "LAUNCH") else nullcontext()
    with torch.no_grad(), unneeded:
        aux: Any = suited(query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)[1]
    return None if aux.selection is None else overlap(aux.selection)


def calibrate(compiled: CompiledAttention, length: int, wanted: float, steps: int = 9, **options: Any) -> float:
    """The drift memory, in tokens, that gives neighbouring choices an overlap of about ``wanted``.

    ``options`` are those of :func:`workload`. Nothing drifts for ``wanted`` 0; what then overlaps does so by chance.
    """
    if wanted <= 0:
        return 0.0
    low, high = 0.0, _STEADIEST
    white = workload(compiled, length, **options)
    for _ in range(steps):
        middle = (low + high) / 2
        found = overlap_of(compiled, drifting(white, 2.0**middle))
        if found is None:
            return 0.0
        low, high = (low, middle) if found > wanted else (middle, high)
    return float(2.0 ** ((low + high) / 2))
