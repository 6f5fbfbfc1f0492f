"""Checks of a call's tensors against what the spec asks: an error names the argument, what it is, what it must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from gsa_dsl.gate_shapes import gate_axes

Meta = Mapping[str, Any]

KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


class OperandError(ValueError):
    """A tensor of a call does not fit the compiled attention."""


@runtime_checkable
class Choice(Protocol):
    """An earlier call's ``aux.selection``; the shape is that of its mask (:func:`choice_shape`)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def device(self) -> torch.device: ...

    def mask(self) -> torch.Tensor: ...


def check_call(
    meta: Meta,
    backend: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    gates: Mapping[str, torch.Tensor],
    index: Mapping[str, torch.Tensor],
    ema: torch.Tensor | None,
    phase: str,
    selection: object,
    extras: Mapping[str, torch.Tensor],
) -> None:
    """Raise :class:`OperandError` at the first operand that does not fit; see ``CompiledAttention.__call__``."""
    _tensor("query", query)
    if query.ndim != 4:
        raise OperandError(
            f"query has shape {list(query.shape)}, expected [batch, {meta['heads']}, length, {meta['head_dim']}]"
        )
    batch, _, length, _ = query.shape
    if batch == 0 or length == 0:
        raise OperandError(f"query has shape {list(query.shape)}: batch and length must be at least 1")
    _dtype_and_device(meta, backend, query)
    _shape("query", query, (batch, meta["heads"], length, meta["head_dim"]), "[batch, heads, length, head_dim]")
    sizes = {name: meta[name] for name in ("heads", "kv_heads", "head_dim", "value_dim")}
    sizes |= {"batch": batch, "length": length}
    for name, tensor, width in (("key", key, "head_dim"), ("value", value, "value_dim")):
        _like(name, tensor, query)
        _axes(name, tensor, ("batch", "kv_heads", "length", width), sizes)

    declared = {gate["name"]: gate for gate in meta["gates"]}
    _names("gates", gates, declared)
    for name, gate in declared.items():
        _like(f"gates[{name!r}]", gates[name], query)
        axes = gate_axes(gate["target"], gate["granularity"])
        _axes(f"gates[{name!r}]", gates[name], axes, sizes, f" (a gate per {gate['granularity']})")

    learned: Mapping[str, list[int]] = meta.get("extras", {})
    _names("extras", extras, learned)
    for name, shape in learned.items():
        _like(f"extras[{name!r}]", extras[name], query, any_float=True)
        _shape(f"extras[{name!r}]", extras[name], tuple(shape), "[heads, places]" if name == "bias" else "[heads]")

    indexer = meta["index"]
    if indexer is None:
        _names("index", index, {})
        if phase != "sparse":
            raise OperandError(f"phase={phase!r}: {meta['name']} has no indexer to warm up; use phase='sparse'")
        if selection is not None:
            raise OperandError(f"selection: {meta['name']} has no indexer, so there is no choice to replace")
    else:
        shapes = index_shapes(meta, batch, length)
        _names("index", index, dict.fromkeys(indexer["tensors"]))
        for name in indexer["tensors"]:
            _like(f"index[{name!r}]", index[name], query, any_float=name in ("w", "b"))
            _shape(f"index[{name!r}]", index[name], *shapes[name])
        if phase not in ("sparse", "warmup"):
            raise OperandError(f"phase={phase!r}: expected 'sparse' or 'warmup'")
        if selection is not None:
            if phase == "warmup":
                raise OperandError("selection: phase='warmup' attends to every key, so there is no choice to replace")
            _selection(selection, query, choice_shape(meta, batch, length))
    emas = len(meta["ema_init"])
    if ema is not None:
        _tensor("ema", ema)
        if emas == 0:
            raise OperandError(f"ema: {meta['name']} keeps no running mean; leave it out")
        _shape("ema", ema, (emas,), "one value per ema(...) of the spec")


def index_shapes(meta: Meta, batch: int, length: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shapes of the indexer's tensors, and their axes in words."""
    indexer, grain = meta["index"], meta.get("grain", {})
    heads, dim = indexer["heads"], indexer["dim"]
    own: tuple[int, ...] = (meta["kv_heads"],) if grain.get("per_kv_head") else ()
    keys = own if grain.get("keys") == "kv_head" else ()
    said, said_of_keys = ("kv_heads, " if axis else "" for axis in (own, keys))
    return {
        "q": ((batch, *own, heads, length, dim), f"[batch, {said}index heads, length, index dim]"),
        "k": ((batch, *keys, length, dim), f"[batch, {said_of_keys}length, index dim]"),
        "w": ((batch, *own, heads, length), f"[batch, {said}index heads, length]"),
        "b": ((heads,), "[index heads]"),
    }


def choice_shape(meta: Meta, batch: int, length: int) -> tuple[tuple[int, ...], str]:
    """The shape of a choice as a mask, and its axes in words: of keys or of blocks, for all heads or each kv head."""
    grain = meta.get("grain", {})
    block = grain.get("block", 1)
    columns = -(-length // block)
    name = "length" if block == 1 else f"blocks of {block}"
    if grain.get("per_kv_head"):
        return (batch, meta["kv_heads"], length, columns), f"[batch, kv_heads, length, {name}]"
    return (batch, length, columns), f"[batch, length, {name}]"


def check_documents(meta: Meta, documents: torch.Tensor | None, query: torch.Tensor) -> None:
    """Raise :class:`OperandError` where ``documents`` is missing, not wanted, or no ids [batch, length].

    ``query``: [batch, ..., length, features]. Ids are looked at on the CPU only: elsewhere that would wait for the
    device, and a document that comes back is two.
    """
    if documents is None:
        if meta.get("documents"):
            raise OperandError(f"documents: {meta['name']} sees documents apart; pass their ids, [batch, length]")
        return
    if not meta.get("documents"):
        raise OperandError(f"documents: {meta['name']} does not say 'documents'; add the clause or leave the ids out")
    _tensor("documents", documents)
    if documents.dtype.is_floating_point or documents.dtype.is_complex or documents.dtype is torch.bool:
        raise OperandError(f"documents has dtype {documents.dtype}, expected an integer dtype")
    if documents.device != query.device:
        raise OperandError(f"documents is on {documents.device}, expected {query.device} as query")
    _shape("documents", documents, (query.shape[0], query.shape[-2]), "[batch, length]")
    if documents.device.type == "cpu":
        runs = 1 + (documents[:, 1:] != documents[:, :-1]).sum(1)
        for row, count in zip(documents, runs.tolist(), strict=True):
            if row.unique().numel() != count:
                raise OperandError("documents: an id comes back after another one; give every document its own")


def _tensor(name: str, value: object) -> None:
    if not isinstance(value, torch.Tensor):
        raise OperandError(f"{name} is a {type(value).__name__}, expected a torch.Tensor")


def _dtype_and_device(meta: Meta, backend: str, query: torch.Tensor) -> None:
    if backend == "torch":
        if not query.dtype.is_floating_point:
            raise OperandError(f"query has dtype {query.dtype}, expected a floating-point dtype")
        return
    if query.dtype not in KERNEL_DTYPES:
        raise OperandError(
            f"query has dtype {query.dtype}, expected float16, bfloat16 or float32 (backend {backend!r})"
        )
    if backend == "interpret":
        if query.dtype is torch.bfloat16:
            raise OperandError(
                "query has dtype torch.bfloat16: Triton's interpreter multiplies its raw bits; use float32 or float16"
            )
        if query.device.type != "cpu":
            raise OperandError(f"query is on {query.device}, expected cpu: backend 'interpret' runs there")
        return
    if query.dtype is torch.float32 and not meta.get("float32", True):
        heads = meta["heads"] // meta["kv_heads"]
        raise OperandError(
            f"query has dtype torch.float32: {heads} query heads a kv head of {meta['head_dim']} features need more "
            "shared memory than a GPU has; use bfloat16 or float16, or compile with backend='torch'"
        )
    if query.device.type != "cuda":
        raise OperandError(
            f"query is on {query.device}, expected cuda; compile with backend='torch' or 'interpret' for cpu"
        )


def _selection(selection: object, query: torch.Tensor, wanted: tuple[tuple[int, ...], str]) -> None:
    if isinstance(selection, torch.Tensor) and selection.dtype is not torch.bool:
        raise OperandError(f"selection has dtype {selection.dtype}, expected torch.bool {wanted[1]}")
    if not isinstance(selection, (torch.Tensor, Choice)):
        kinds = "a bool torch.Tensor or an earlier aux.selection"
        raise OperandError(f"selection is a {type(selection).__name__}, expected {kinds}")
    if selection.device != query.device:
        raise OperandError(f"selection is on {selection.device}, expected {query.device} as query")
    _shape("selection", selection, *wanted)


def _like(name: str, tensor: object, query: torch.Tensor, *, any_float: bool = False) -> None:
    _tensor(name, tensor)
    assert isinstance(tensor, torch.Tensor)
    if tensor.device != query.device:
        raise OperandError(f"{name} is on {tensor.device}, expected {query.device} as query")
    fits = tensor.dtype == query.dtype or (any_float and tensor.dtype is torch.float32)
    if not fits:
        wanted = f"{query.dtype} as query" + (" or torch.float32" if any_float else "")
        raise OperandError(f"{name} has dtype {tensor.dtype}, expected {wanted}")


def _shape(name: str, tensor: torch.Tensor | Choice, wanted: tuple[int, ...], letters: str) -> None:
    if tuple(tensor.shape) != wanted:
        raise OperandError(f"{name} has shape {list(tensor.shape)}, expected {list(wanted)}: {letters}")


def _axes(name: str, tensor: torch.Tensor, axes: tuple[str, ...], sizes: Mapping[str, int], remark: str = "") -> None:
    _shape(name, tensor, tuple(sizes[axis] for axis in axes), f"[{', '.join(axes)}]{remark}")


def _names(argument: str, given: Mapping[str, torch.Tensor], wanted: Mapping[str, object]) -> None:
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if missing:
        raise OperandError(
            f"{argument} has no {', '.join(map(repr, missing))}; the spec asks for {sorted(wanted) or 'none'}"
        )
    if extra:
        raise OperandError(
            f"{argument} has {', '.join(map(repr, extra))}, unused by the spec; it asks for {sorted(wanted) or 'none'}"
        )
