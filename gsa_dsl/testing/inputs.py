"""Random inputs for any checked spec, in patterns that bring out what kernels get wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gsa_dsl.gate_shapes import gate_axes
from gsa_dsl.reference.scores import prepared, unit_scores
from gsa_dsl.reference.statistics import ema_means
from gsa_dsl.reference.units import seen_units
from gsa_dsl.reference.visible import visible_keys
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.chunks import chunks

PATTERNS = ("normal", "ties", "hot_key", "nan", "infinite", "constant", "large", "tiny")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that one call takes; shapes as in :func:`gsa_dsl.reference.dense.reference`."""

    query: Tensor
    key: Tensor
    value: Tensor
    gates: Mapping[str, Tensor] | None
    index: Mapping[str, Tensor] | None
    ema: Tensor | None
    documents: Tensor | None = None
    extras: Mapping[str, Tensor] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The differentiable tensors by name: query, key, value, ``gates.NAME``, ``index.NAME``, ``extras.NAME``."""
        named = {"query": self.query, "key": self.key, "value": self.value}
        named |= {f"gates.{name}": x for name, x in (self.gates or {}).items()}
        named |= {f"index.{name}": x for name, x in (self.index or {}).items()}
        return named | {f"extras.{name}": x for name, x in (self.extras or {}).items()}

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of a call: gates, index and ema, extras and documents where the spec has them."""
        keywords = {"gates": self.gates, "index": self.index, "ema": self.ema}
        others = {"extras": self.extras, "documents": self.documents}
        return keywords | {name: value for name, value in others.items() if value is not None}

    def scored_by(self, spec: CheckedSpec, dtype: torch.dtype) -> dict[str, Tensor]:
        """What scores are made of (:func:`gsa_dsl.reference.scores.prepared`), detached, in ``dtype``."""
        index = {name: x.detach().to(dtype) for name, x in (self.index or {}).items()}
        return prepared(spec, self.query.detach().to(dtype), self.key.detach().to(dtype), index)

    def replaced(self, tensors: Mapping[str, Tensor]) -> Inputs:
        """These inputs with some of :meth:`tensors` exchanged."""
        every = {**self.tensors(), **tensors}

        def group(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): x for name, x in every.items() if name.startswith(prefix)}

        return dataclasses.replace(
            self,
            query=every["query"],
            key=every["key"],
            value=every["value"],
            gates=None if self.gates is None else group("gates."),
            index=None if self.index is None else group("index."),
            extras=None if self.extras is None else group("extras."),
        )

    def to(self, dtype: torch.dtype) -> Inputs:
        """Detached copies in ``dtype`` (the state vector keeps its own)."""
        return self.replaced({name: x.detach().to(dtype, copy=True) for name, x in self.tensors().items()})

    def strided(self) -> Inputs:
        """Detached copies with the same values but their axes in reverse order in memory: every stride is unusual."""

        def reverse(x: Tensor) -> Tensor:
            return x.permute(*reversed(range(x.dim())))

        return self.replaced({name: reverse(reverse(x.detach()).contiguous()) for name, x in self.tensors().items()})

    def requires_grad_(self) -> Inputs:
        """Mark every differentiable tensor; returns these inputs."""
        for x in self.tensors().values():
            x.requires_grad_()
        return self

    def zero_grad(self) -> None:
        """Forget the gradients collected so far."""
        for x in self.tensors().values():
            x.grad = None

    def gradients(self) -> dict[str, Tensor]:
        """The gradient collected by each differentiable tensor; zeros where nothing reached it."""
        return {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in self.tensors().items()}


def make_inputs(
    spec: CheckedSpec,
    *,
    batch: int,
    length: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    value_dim: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
    pattern: str = "normal",
) -> Inputs:
    """Inputs for ``spec``, the same for a seed on every device; ``value_dim`` is ``head_dim`` unless given.

    The indexer's queries and keys lie on a grid on which their dot products are exact in every dtype: a derivative that
    jumps, as that of relu at 0, would otherwise differ by which side rounding puts a product on. So do the attention's
    own, where the indexer scores with them.

    Patterns: ``normal`` draws everything from N(0, 1). ``ties`` takes the indexer's vectors from few small integers, so
    that many scores are equal in every precision; where blocks are selected, whole blocks of keys are alike.
    ``hot_key``: every query wants key 0. ``nan`` poisons one query and two keys of the indexer, if it has any of its
    own; ``infinite`` does so with infinities. ``constant``: all scores are equal. ``large``: logits in the hundreds,
    saturated scores; ``tiny``: everything nearly 0.
    Documents are of many lengths, some of one position; on ``large`` a sequence is one document.
    The state vector is the mean that the spec would see on these inputs, so that adaptive budgets vary; on ``constant``
    that would be rounding noise, and it keeps its initial values. Raises ValueError for another pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern is one of {', '.join(PATTERNS)}, not {pattern!r}")
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    qkv = {
        "query": draw(batch, heads, length, head_dim),
        "key": draw(batch, kv_heads, length, head_dim),
        "value": draw(batch, kv_heads, length, value_dim or head_dim),
    }
    sizes = {"batch": batch, "length": length, "heads": heads, "kv_heads": kv_heads}
    sizes |= {"head_dim": head_dim, "value_dim": value_dim or head_dim}
    axes = {tensor.name: gate_axes(gate.target, gate.granularity) for gate in spec.gates for tensor in gate.tensors}
    gates = {name: draw(*(sizes[axis] for axis in of_gate)) for name, of_gate in axes.items()}
    index = {name: draw(*shape) for name, shape in index_shapes(spec, batch, length, kv_heads).items()}
    for name in ("q", "k") if index else ():
        index[name] = _on_grid(index[name])
    extras = {name: draw(*shape) for name, shape in spec.extras(heads).items()}
    block = spec.selection.block if spec.selection is not None else 1
    _arrange(pattern, qkv, index, generator, block)
    if spec.indexer is not None and spec.indexer.keys == "attention":
        _arrange_own(pattern, qkv, generator, block)

    def place(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: x.to(device=device, dtype=dtype) for name, x in tensors.items()}

    documents = None
    if spec.documents:
        documents = _documents(batch, length, generator, whole=pattern == "large").to(device)
    inputs = Inputs(
        **place(qkv),
        gates=place(gates) or None,
        index=place(index) or None,
        ema=None,
        extras=place(extras) or None,
        documents=documents,
    )
    return dataclasses.replace(inputs, ema=_state(spec, inputs, typical=pattern != "constant"))


def index_shapes(spec: CheckedSpec, batch: int, length: int, kv_heads: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the indexer's tensors that a call takes: none where it scores with the attention's own keys."""
    indexer = spec.indexer
    if indexer is None or spec.selection is None or indexer.keys == "attention":
        return {}
    choosing = (batch, kv_heads) if spec.selection.per_kv_head else (batch,)
    owners = (batch, kv_heads) if indexer.keys == "kv_head" else (batch,)
    shapes = {
        "q": (*choosing, indexer.heads, length, indexer.dim),
        "k": (*owners, length, indexer.dim),
        "w": (*choosing, indexer.heads, length),
        "b": (indexer.heads,),
    }
    return {name: shapes[name] for name in indexer.tensors}


def _documents(batch: int, length: int, generator: torch.Generator, *, whole: bool) -> Tensor:
    """Ids of packed documents, int64 ``[batch, length]``: lengths vary from 1 to about the sequence's."""
    begins = torch.rand((batch, length), generator=generator) < 4 / length
    begins |= torch.rand((batch, length), generator=generator) < begins.roll(1, 1) / 3  # short ones, one after another
    begins[:, 0] = False
    return begins.long().cumsum(-1) * (not whole) + 7


def _on_grid(x: Tensor) -> Tensor:
    """Eighths between -4 and 4: six bits, so that sums of up to 2^14 products fit the 24 of a float32."""
    return (x * 8).round().clamp(-32, 32) / 8


def _repeating(keys: Tensor, block: int, generator: torch.Generator) -> Tensor:
    """``keys [..., L, d]`` with every block of them one of the first three."""
    length = keys.shape[-2]
    place = torch.arange(length)
    kinds = max(1, min(3, length // block))
    kind = torch.randint(0, kinds, (-(-length // block),), generator=generator)
    return keys[..., kind[place // block] * block + place % block, :]


def _arrange_own(pattern: str, qkv: dict[str, Tensor], generator: torch.Generator, block: int) -> None:
    """Rewrite query and key, in place, where an indexer scores with them."""
    for name in ("query", "key"):
        if pattern == "ties":
            qkv[name] = torch.randint(-1, 2, qkv[name].shape, generator=generator).float()
        elif pattern == "constant":
            qkv[name].fill_(0.5)
        else:
            qkv[name] = (qkv[name] * 8).round() / 8
    if pattern == "ties":
        qkv["key"] = _repeating(qkv["key"], block, generator)


def _arrange(
    pattern: str, qkv: dict[str, Tensor], index: dict[str, Tensor], generator: torch.Generator, block: int
) -> None:
    """Rewrite freshly drawn tensors, in place, to follow ``pattern``."""
    if pattern == "hot_key":
        qkv["query"][..., 0] = 1
        qkv["key"][..., 0, 0] = 4 * qkv["key"].shape[-1] ** 0.5  # four more than the others, after the usual scale
    if pattern == "large":
        qkv["query"] *= 16
        qkv["key"] *= 16
    if pattern == "tiny":
        for x in qkv.values():
            x *= 2.0**-12
    if not index:
        return
    q, k = index["q"], index["k"]
    length = k.shape[-2]
    if pattern == "ties":
        for name, x in index.items():
            index[name] = torch.randint(-1, 2, x.shape, generator=generator).float()
        index["k"] = _repeating(index["k"], block, generator)
    elif pattern == "hot_key":
        q[..., 0] = 3
        k[..., 0, 0] = 8 * k.shape[-1] ** 0.5
        if "w" in index:
            index["w"].abs_()
    elif pattern == "nan":
        q[0][..., length // 2, :] = torch.nan
        k[0][..., length // 3, :] = torch.nan
        k[-1][..., 0, 0] = torch.nan
    elif pattern == "infinite":
        q[0][..., length // 2, :] = -torch.inf
        k[0][..., length // 3, :] = -torch.inf
        k[-1][..., 0, 0] = torch.inf
    elif pattern == "constant":
        for x in index.values():
            x.fill_(0.5)
    elif pattern in ("large", "tiny"):
        for x in index.values():
            x *= 4 if pattern == "large" else 2.0**-4  # by powers of two, which keep products exact


def _state(spec: CheckedSpec, inputs: Inputs, *, typical: bool) -> Tensor | None:
    """The state vector, float32: each body's mean on ``inputs`` where wanted and finite, else its initial value."""
    if not spec.emas or spec.selection is None:
        return None
    initial = torch.tensor([e.init for e in spec.emas], dtype=torch.float32, device=inputs.query.device)
    if not typical:
        return initial
    batch, _, length, _ = inputs.query.shape
    total = torch.zeros(len(spec.emas), dtype=torch.float64, device=inputs.query.device)
    with torch.no_grad():
        parts = inputs.scored_by(spec, torch.float64)
        for rows in chunks(spec, batch, inputs.key.shape[1], length):
            tokens = visible_keys(spec, batch, length, inputs.query.device, inputs.documents, rows)
            seen = {**parts, "k": parts["k"][:, : len(tokens[0, 0])]}
            scores = unit_scores(spec, seen, tokens, rows)
            visible = seen_units(tokens, spec.selection.block).repeat_interleave(scores.shape[0] // batch, 0)
            scores = scores[..., : visible.shape[-1]]
            choices = -(-scores.shape[1] // spec.selection.queries)
            total += ema_means(spec, scores, visible) * choices
    means = total / -(-length // spec.selection.queries)
    return torch.where(means.isfinite(), means.float(), initial)
