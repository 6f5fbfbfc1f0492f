"""A compiled attention with the projections around it: what a transformer block calls."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from gsa_dsl.gate_shapes import gate_axes
from gsa_dsl.nn.rotary import rotate
from gsa_dsl.runtime import validate

if TYPE_CHECKING:
    from gsa_dsl.compiler import CompiledAttention
    from gsa_dsl.results import Aux
    from gsa_dsl.sema.typed import GateSpec, IndexerSpec


class GSAttention(nn.Module):
    """Self-attention on ``x`` [B, L, d_model] by a compiled spec; made by :meth:`CompiledAttention.module`.

    Holds the query, key, value and output projections, one linear layer per gate that reads ``linear(x)`` (its bias
    starts at 0, so the gate starts where the spec's expression puts it; a gate that ``starts identity`` has a weight of
    0 and the bias that makes it 1), the indexer's projections of the *detached* input, the learned tensors of the
    logits (``extras.sink`` [heads] and ``extras.bias`` [heads, places], 0 at first), and, if the spec
    says ``ema``, the buffer ``budget_ema`` (float32 whatever the module's dtype; updated in training mode only).

    An indexer that learns through the logits alone is a part of the model's function as any other: its projections
    read the input itself, and pass its gradient on.

    Attributes:
        compiled: the compiled attention; copies of the module share it, a pickle compiles the spec again.
        indexer_loss: the loss tensor of the last forward pass in training mode, with its graph; add it to the model's
            loss (:func:`gsa_dsl.indexer_loss` sums over a model). None before, or when the spec trains no indexer.
        phase: ``"sparse"``, or ``"warmup"`` while :meth:`warmup` is on.
    """

    budget_ema: Tensor | None

    def __init__(
        self,
        compiled: CompiledAttention,
        d_model: int,
        *,
        rope_base: float | None = 10000.0,
        index_rope: bool = False,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Build the projections.

        Args:
            compiled: what ``gsa_dsl.compile`` returned.
            d_model: features of the input and of the output.
            rope_base: base of the rotary embedding of query and key; None for no positions at all.
            index_rope: rotate the indexer's q and k too.
            bias: biases in the query, key, value and output projections.
            device: of the parameters, as for :class:`torch.nn.Linear`.
            dtype: of the parameters, as for :class:`torch.nn.Linear`.

        Raises:
            ValueError: a size that cannot be, or an option that the spec has no use for.
        """
        super().__init__()
        recipe = compiled.recipe
        self.compiled = compiled
        self.d_model = d_model
        self.heads: int = recipe["heads"]
        self.kv_heads: int = recipe["kv_heads"] or recipe["heads"]
        self.head_dim: int = recipe["head_dim"]
        self.value_dim: int = recipe["value_dim"] or recipe["head_dim"]
        self.rope_base = rope_base
        self.index_rope = index_rope
        self.phase: Literal["sparse", "warmup"] = "sparse"
        self.indexer_loss: Tensor | None = None

        indexer = compiled.spec.indexer
        self._refuse_bad_options(indexer)

        def linear(features: int, bias: bool, inputs: int | None = None) -> nn.Linear:
            return nn.Linear(inputs or d_model, features, bias=bias, device=device, dtype=dtype)

        self.q_proj = linear(self.heads * self.head_dim, bias)
        self.k_proj = linear(self.kv_heads * self.head_dim, bias)
        self.v_proj = linear(self.kv_heads * self.value_dim, bias)
        self.o_proj = nn.Linear(self.heads * self.value_dim, d_model, bias=bias, device=device, dtype=dtype)

        self.gate_proj = nn.ModuleDict()
        for gate in compiled.spec.gates:
            if gate.projects:
                layer = linear(self._width(gate), True, gate.features)
                nn.init.constant_(layer.bias, gate.identity or 0.0)
                if gate.identity is not None:
                    nn.init.zeros_(layer.weight)
                self.gate_proj[gate.name] = layer

        self.extras = nn.ParameterDict()
        self.index_proj = nn.ModuleDict()
        self.index_bias: nn.Parameter | None = None
        if indexer is not None and indexer.keys != "attention":
            sets = self.kv_heads if self._per_kv_head else 1
            widths = {"q": sets * indexer.heads * indexer.dim, "w": sets * indexer.heads}
            widths["k"] = indexer.dim * (self.kv_heads if indexer.keys == "kv_head" else 1)
            for name in indexer.tensors:
                if name == "b":
                    self.index_bias = nn.Parameter(torch.zeros(indexer.heads, device=device, dtype=dtype))
                else:
                    self.index_proj[name] = linear(widths[name], False)

        for name, shape in compiled.spec.extras(self.heads).items():
            self.extras[name] = nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))

        emas = compiled.spec.emas
        initial = torch.tensor([ema.init for ema in emas], dtype=torch.float32, device=device) if emas else None
        self.register_buffer("budget_ema", initial)

    @overload
    def forward(
        self,
        x: Tensor,
        return_aux: Literal[False] = False,
        *,
        gates: Mapping[str, Tensor] | None = None,
        documents: Tensor | None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        return_aux: Literal[True],
        *,
        gates: Mapping[str, Tensor] | None = None,
        documents: Tensor | None = None,
    ) -> tuple[Tensor, Aux]: ...

    def forward(
        self,
        x: Tensor,
        return_aux: bool = False,
        *,
        gates: Mapping[str, Tensor] | None = None,
        documents: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Aux]:
        """Attend.

        In training mode the indexer's loss is computed and kept in :attr:`indexer_loss`, and ``budget_ema`` moves on;
        in evaluation mode neither is touched.

        Args:
            x: [B, L, d_model].
            return_aux: also return what the attention knows beside its output (:class:`gsa_dsl.Aux`).
            gates: the tensors that the spec's gates are ``given``, by name, in the shapes of a call; taken in the dtype
                of the projections.
            documents: for a spec that says ``documents``, integer ids [B, L], equal within a document; rotary positions
                restart with each.

        Returns:
            The output [B, L, d_model], or the pair of output and Aux.

        Raises:
            ValueError: ``x`` has another shape, ``gates`` holds other names than the spec's ``given(...)``, or
                ``documents`` is missing, not wanted or does not fit.
        """
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"expected x [B, L, {self.d_model}], got {list(x.shape)}")
        query = self._heads(self.q_proj(x), self.heads)
        key = self._heads(self.k_proj(x), self.kv_heads)
        value = self._heads(self.v_proj(x), self.kv_heads)
        validate.check_documents(self.compiled.meta, documents, x)
        places = None if documents is None else self._places(documents)
        if self.rope_base is not None:
            query, key = (rotate(heads, self.rope_base, places) for heads in (query, key))
        pre_activations, index = self._gates(x, gates or {}, query.dtype), self._index(x, places)

        aux: Aux | None
        want_aux = self.training or return_aux
        with _without_autocast(x.device.type):
            result = self.compiled(
                query,
                key,
                value,
                gates=pre_activations,
                index=index,
                ema=self.budget_ema,
                phase=self.phase,
                extras=dict(self.extras),
                documents=documents,
                return_aux=want_aux,
            )
        attended, aux = result if want_aux else (result, None)
        if self.training and aux is not None:
            self.indexer_loss = aux.indexer_loss
            self._update_ema(aux.ema_inputs)
        output: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return (output, aux) if return_aux and aux is not None else output

    def warmup(self, mode: bool = True) -> GSAttention:
        """Attend densely while the indexer learns (``mode`` true), or sparsely as the spec says; returns the module.

        Raises:
            ValueError: the spec has no indexer to warm up.
        """
        if mode and self.compiled.spec.indexer is None:
            raise ValueError(f"the spec '{self.compiled.spec.name}' has no indexer to warm up")
        self.phase = "warmup" if mode else "sparse"
        return self

    def extra_repr(self) -> str:
        spec = self.compiled.spec.name
        dims = f"head_dim={self.head_dim}"
        if self.value_dim != self.head_dim:
            dims += f", value_dim={self.value_dim}"
        return f"{spec}, heads={self.heads}, kv_heads={self.kv_heads}, {dims}, phase={self.phase}"

    def _refuse_bad_options(self, indexer: IndexerSpec | None) -> None:
        if self.d_model < 1:
            raise ValueError(f"d_model must be at least 1, got {self.d_model}")
        for gate in self.compiled.spec.gates:
            if gate.features is not None and gate.features > self.d_model:
                raise ValueError(f"gate {gate.name!r} reads {gate.features} features of x, d_model is {self.d_model}")
        if self.rope_base is not None and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim, got {self.head_dim}; pass rope_base=None")
        if self.index_rope:
            if indexer is None or "q" not in indexer.tensors or indexer.keys == "attention":
                raise ValueError("index_rope=True, but the spec has no indexer with a q and a k to rotate")
            if self.rope_base is None:
                raise ValueError("index_rope=True needs a rope_base")
            if indexer.dim % 2:
                raise ValueError(f"index_rope=True needs an even indexer dim, got {indexer.dim}")

    @property
    def _per_kv_head(self) -> bool:
        """Whether every kv head chooses its own keys."""
        selection = self.compiled.spec.selection
        return selection is not None and selection.per_kv_head

    def _width(self, gate: GateSpec) -> int:
        """Features of a gate's projection: as many as its tensor has at a position."""
        of_position = (axis for axis in gate_axes(gate.target, gate.granularity) if axis not in ("batch", "length"))
        return math.prod(int(getattr(self, axis)) for axis in of_position)

    @staticmethod
    def _heads(flat: Tensor, heads: int) -> Tensor:
        """[B, L, heads * dim] to [B, heads, L, dim], without a copy."""
        batch, length, _ = flat.shape
        return flat.view(batch, length, heads, -1).transpose(1, 2)

    def _gates(self, x: Tensor, given: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor] | None:
        """The gates' pre-activations, in the shapes of :func:`gsa_dsl.gate_shapes.gate_axes`, and what is given."""
        wanted = {name for gate in self.compiled.spec.gates for name in gate.given}
        if set(given) != wanted:
            raise ValueError(f"gates must hold {sorted(wanted)}, got {sorted(given)}")
        gates = {name: tensor.to(dtype) for name, tensor in given.items()}
        for gate in self.compiled.spec.gates:
            if not gate.projects:
                continue
            flat: Tensor = self.gate_proj[gate.name](x[..., : gate.features])
            if gate.granularity == "element":
                gates[gate.name] = self._heads(flat, int(getattr(self, gate_axes(gate.target, "element")[1])))
            else:
                gates[gate.name] = flat.transpose(1, 2) if gate.granularity == "head" else flat.squeeze(-1)
        return gates or None

    def _places(self, documents: Tensor) -> Tensor:
        """Every position within its document, [B, 1, L]."""
        start: Tensor = self.compiled.kernels.document_spans(documents).start
        return (torch.arange(start.shape[1], device=start.device) - start)[:, None]

    def _index(self, x: Tensor, places: Tensor | None) -> dict[str, Tensor] | None:
        """The indexer's q [B, J, L, dI], k [B, L, dI], w [B, J, L] and b [J], those that the spec reads.

        Where every kv head chooses, q and w have an axis of them after the batch, and k where it has its own keys.
        """
        indexer = self.compiled.spec.indexer
        if indexer is None or indexer.keys == "attention":
            return None
        spec = self.compiled.spec
        # Its own loss must not train the layers below; the model's loss, through the logits, must.
        seen = x if spec.soft and spec.train is None else x.detach()
        index: dict[str, Tensor] = {name: layer(seen) for name, layer in self.index_proj.items()}
        own = (self.kv_heads,) if self._per_kv_head else ()
        if "q" in index:
            index["q"] = _split(index["q"], *own, indexer.heads, indexer.dim).movedim(1, -2)
        if "k" in index and indexer.keys == "kv_head":
            index["k"] = _split(index["k"], *own, indexer.dim).movedim(1, -2)
        if "w" in index:
            index["w"] = _split(index["w"], *own, indexer.heads).movedim(1, -1)
        if self.index_bias is not None:
            index["b"] = self.index_bias
        if self.index_rope and self.rope_base is not None:
            index["q"] = rotate(index["q"], self.rope_base, places[:, None] if places is not None and own else places)
            at = places[:, 0] if places is not None and index["k"].dim() == 3 else places
            index["k"] = rotate(index["k"], self.rope_base, at)
        return index

    @torch.no_grad()
    def _update_ema(self, inputs: Tensor | None) -> None:
        if self.budget_ema is None or inputs is None:
            return
        step = self.budget_ema.new_tensor([1 - ema.decay for ema in self.compiled.spec.emas])
        self.budget_ema.lerp_(inputs.detach().to(self.budget_ema), step)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GSAttention:
        kept = self.budget_ema
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if kept is not None and self.budget_ema is not None:
            # Devices change it, dtypes do not: in bfloat16 a step of one percent would be rounded away.
            self.budget_ema = self.budget_ema.float() if kept.is_meta else kept.to(self.budget_ema.device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> GSAttention:
        """A copy with parameters of its own; the compiled attention, which never changes, is shared."""
        memo[id(self.compiled)] = self.compiled
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy({**self.__dict__, "indexer_loss": None}, memo)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # A loss with its graph does not travel.
        return {**self.__dict__, "indexer_loss": None}


def _split(x: Tensor, *sizes: int) -> Tensor:
    """The last axis as several."""
    return x.view(*x.shape[:-1], *sizes)


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Attention chooses its own precision: the projections around it are what autocast is for."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
