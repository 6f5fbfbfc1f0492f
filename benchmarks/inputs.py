"""Inputs whose neighbouring queries choose alike, as in real models; how alike is set, measured and reported."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gsa_dsl.compiler import CompiledAttention, Selection


@dataclass(frozen=True)
class Inputs:
    """The operands of one call, batch 1, on the GPU."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    gates: dict[str, torch.Tensor]
    index: dict[str, torch.Tensor] | None

    def leaves(self) -> list[torch.Tensor]:
        return [self.query, self.key, self.value, *self.gates.values(), *(self.index or {}).values()]

    def training(self) -> Inputs:
        """The same values as leaves that want gradients."""

        def leaf(x: torch.Tensor) -> torch.Tensor:
            return x.detach().clone().requires_grad_()

        gates = {name: leaf(x) for name, x in self.gates.items()}
        index = None if self.index is None else {name: leaf(x) for name, x in self.index.items()}
        return Inputs(leaf(self.query), leaf(self.key), leaf(self.value), gates, index)


def make_inputs(compiled: CompiledAttention, length: int, memory: float, seed: int = 0) -> Inputs:
    """Random bf16 operands; the indexer's queries and weights drift with a memory of ``memory`` tokens."""
    meta = compiled.meta
    generator = torch.Generator("cuda").manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", generator=generator)

    heads, kv_heads, dim = meta["heads"], meta["kv_heads"], meta["head_dim"]
    gates = {}
    for gate in meta["gates"]:
        shape = (1, kv_heads if gate["target"] == "value" else heads, length)
        gates[gate["name"]] = normal(*shape, *([dim] if gate["granularity"] == "element" else [])).bfloat16()
    index = None
    if meta["index"] is not None:
        count, width = meta["index"]["heads"], meta["index"]["dim"]
        every = {
            "q": drift(normal(1, count, width, length), memory).transpose(2, 3).contiguous(),
            "k": normal(1, length, width),
            "w": drift(normal(1, count, length), memory),
            "b": torch.zeros(count, device="cuda"),
        }
        index = {name: every[name].bfloat16() for name in meta["index"]["tensors"]}
    shapes = ((1, heads, length, dim), (1, kv_heads, length, dim), (1, kv_heads, length, dim))
    query, key, value = (normal(*shape).bfloat16() for shape in shapes)
    return Inputs(query, key, value, gates, index)


def drift(noise: torch.Tensor, memory: float) -> torch.Tensor:
    """White noise made into a stationary first-order autoregression along the last axis (0: left as it is)."""
    if memory <= 0:
        return noise
    decay = math.exp(-1.0 / memory)
    frequency = torch.fft.rfftfreq(noise.shape[-1], device=noise.device) * (2 * math.pi)
    gain = math.sqrt(1 - decay**2) / torch.sqrt(1 + decay**2 - 2 * decay * torch.cos(frequency))
    drifting: torch.Tensor = torch.fft.irfft(torch.fft.rfft(noise) * gain, n=noise.shape[-1])
    return drifting


def overlap(compiled: CompiledAttention, selection: Selection) -> float:
    """Mean Jaccard index of neighbouring queries' choices, over the second half of the sequence, within tiles."""
    tile = compiled.kernels.TILE.value
    lists = selection.lists
    half = lists.word.shape[1] // 2
    width = lists.word.shape[2]
    listed = torch.arange(width, device=lists.pos.device) < lists.count[:, half:, None]
    word = torch.where(listed, lists.word[:, half:].to(torch.int32), 0)
    either = shared = 0
    for r in range(tile - 1):
        pair = (word >> r) & 3
        shared += int((pair == 3).sum())
        either += int((pair != 0).sum())
    return shared / max(either, 1)


def calibrate(compiled: CompiledAttention, length: int, wanted: float, steps: int = 9) -> float:
    """The drift memory, in tokens, that gives neighbouring choices an overlap of about ``wanted``."""
    low, high = 0.0, 24.0
    for _ in range(steps):
        middle = (low + high) / 2
        inputs = make_inputs(compiled, length, 2.0**middle)
        with torch.no_grad():
            _, aux = compiled(
                inputs.query, inputs.key, inputs.value, gates=inputs.gates, index=inputs.index,
                return_aux=True,
            )  # fmt: skip
        low, high = (low, middle) if overlap(compiled, aux.selection) > wanted else (middle, high)
    return float(2.0 ** ((low + high) / 2))
