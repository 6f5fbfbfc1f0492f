"""What a spec says, for FlexAttention: its mask and its change of the logits, made from the checked spec."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from gsa_dsl.reference.logits import places, slopes
from gsa_dsl.reference.visible import document_numbers
from gsa_dsl.results import Selection
from gsa_dsl.sema import typed
from gsa_dsl.sema.typed import CheckedSpec, TypedExpr
from gsa_dsl.testing.inputs import Inputs

BLOCK = 128
"""Queries and keys of a block of FlexAttention's."""
_PAIRS = 1 << 26  # of a query and a key, looked at together

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Attend = Callable[[], Tensor]


def flex(spec: CheckedSpec, inputs: Inputs, selection: Selection | None) -> Attend:
    """A call of FlexAttention that computes ``spec`` without its gates on ``inputs``; ``selection``: the choice to use.

    Compiled on CUDA; eager, and without a backward pass, elsewhere. Raises ValueError where a logit reads the score.
    """
    if spec.soft:
        raise ValueError("the logits read the indexer's score")
    dims = {"head_dim": inputs.query.shape[-1], "heads": inputs.query.shape[1], "kv_heads": inputs.key.shape[1]}
    dims["group"] = dims["heads"] // dims["kv_heads"]
    # Made once: code that differs from run to run would be compiled in every one.
    mask, change = block_mask(spec, inputs, selection), score_mod(spec, inputs, dims)
    scale = 1.0 if spec.logit is not None else scale_of(spec, dims)
    attend: Any = flex_attention
    if inputs.query.device.type == "cuda":
        torch._dynamo.reset()  # every mask is code of its own, and few versions of a function are kept
        attend = torch.compile(flex_attention, dynamic=False)

    def run() -> Tensor:
        result: Any = attend(
            inputs.query,
            inputs.key,
            inputs.value,
            score_mod=change,
            block_mask=mask,
            scale=scale,
            enable_gqa=dims["group"] > 1,
            return_aux=AuxRequest(lse=True) if spec.sink is not None else None,
        )
        if spec.sink is None:
            output: Tensor = result
            return output
        output, aux = result
        assert inputs.extras is not None
        return output * torch.sigmoid(aux.lse - inputs.extras["sink"][:, None]).unsqueeze(-1).to(output.dtype)

    return run


def scale_of(spec: CheckedSpec, dims: Mapping[str, int]) -> float:
    """The factor of the dot products where the spec has no logits of its own."""
    if spec.scale is None:
        return float(dims["head_dim"] ** -0.5)
    scale = _built(spec.scale, dims)
    assert isinstance(scale, float)
    return scale


# --- masks -----------------------------------------------------------------------------------------------------------


def mask_mod(spec: CheckedSpec, inputs: Inputs, selection: Selection | None) -> MaskMod:
    """Whether query position t of head h attends to key position s; of blocks, those in ``selection``."""
    length, device = inputs.query.shape[2], inputs.query.device
    tests: list[MaskMod] = [lambda b, h, t, s: s <= t] if spec.causal else []
    starts = None
    if spec.documents:
        assert inputs.documents is not None
        number = document_numbers(inputs.documents)
        place = torch.arange(length, device=device)
        begins = torch.nn.functional.pad(number[:, 1:] != number[:, :-1], (1, 0), value=True)
        starts = torch.where(begins, place, 0).cummax(-1).values
        tests.append(lambda b, h, t, s: number[b, t] == number[b, s])
    if selection is not None:
        tests.append(_chosen(spec, inputs, selection))
    elif spec.forced.span is not None:
        first, last = spec.forced.first, spec.forced.last

        def forced(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
            begin = 0 if starts is None else starts[b, t]
            return (s - begin < first) | ((t - s < last) & (s - t < last))

        tests.append(forced)

    def mask(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        seen = (b >= 0) & (h >= 0) & (t >= 0) & (s >= 0)
        for test in tests:
            seen = seen & test(b, h, t, s)
        return seen

    return mask


def _chosen(spec: CheckedSpec, inputs: Inputs, selection: Selection) -> MaskMod:
    """The choice as it was made, a bool a query and unit, looked up."""
    assert spec.selection is not None
    block = spec.selection.block
    chosen = choice_mask(selection)
    if chosen.dim() == 3:
        chosen = chosen.unsqueeze(1)
    share = inputs.query.shape[1] // chosen.shape[1]
    return lambda b, h, t, s: chosen[b, h // share, t, s // block]


def choice_mask(selection: Selection) -> Tensor:
    """``selection.mask()``, made some queries at a time: on the way a pair of kernels' lists takes eight bytes."""
    length = selection.length
    step = max(_PAIRS // max(math.prod(selection.shape) // length, 1), 1)
    parts = (selection.mask(slice(start, min(start + step, length))) for start in range(0, length, step))
    return torch.cat(list(parts), -2)


def block_mask(spec: CheckedSpec, inputs: Inputs, selection: Selection | None) -> BlockMask:
    """The mask in blocks of :data:`BLOCK` queries and keys; never a tensor of all pairs."""
    mask = mask_mod(spec, inputs, selection)
    batch, heads, length, _ = inputs.query.shape
    device = inputs.query.device
    own = selection is not None and spec.selection is not None and spec.selection.per_kv_head
    choosers = inputs.key.shape[1] if own else 1
    share = heads // choosers
    batch = batch if spec.documents or selection is not None else 1
    b = torch.arange(batch, device=device).view(-1, 1, 1, 1)
    h = (torch.arange(choosers, device=device) * share).view(-1, 1, 1)
    blocks = -(-length // BLOCK)
    s = torch.arange(blocks * BLOCK, device=device)
    inside, s = s < length, s.clamp(max=length - 1)
    step = max(_PAIRS // (batch * choosers * length) // BLOCK, 1) * BLOCK
    any_of, all_of = [], []
    for start in range(0, length, step):
        rows = min(-(-(length - start) // BLOCK) * BLOCK, step)
        t = torch.arange(start, start + rows, device=device).unsqueeze(-1)
        seen = mask(b, h, t.clamp(max=length - 1), s) & inside & (t < length)
        parted = seen.view(batch, -1, rows // BLOCK, BLOCK, blocks, BLOCK)
        any_of.append(parted.any(-1).any(3))
        all_of.append(parted.all(-1).all(3))
    some, full = (torch.cat(parts, 2).repeat_interleave(share if choosers > 1 else 1, 1) for parts in (any_of, all_of))
    partial = some & ~full
    return BlockMask.from_kv_blocks(
        *_ordered(partial), *_ordered(full), BLOCK_SIZE=BLOCK, mask_mod=mask, seq_lengths=(length, length)
    )


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of each row are meant, and which: those first, in order."""
    order = torch.argsort(blocks.to(torch.int8), dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32), order.to(torch.int32)


# --- logits ----------------------------------------------------------------------------------------------------------

Leaves = dict[str, Tensor]
Value = Callable[[Leaves], Any]


def score_mod(spec: CheckedSpec, inputs: Inputs, dims: Mapping[str, int]) -> ScoreMod | None:
    """The spec's logit of a dot product and of places, heads included; None where it has none of its own.

    A learned table is laid out by distance beforehand, and what learns is that.
    """
    if spec.logit is None:
        return None
    reads = spec.logit.reads
    causal, device, length = spec.causal, inputs.query.device, inputs.query.shape[2]
    body = _built(spec.logit.body, dims)
    slope = torch.tensor(slopes(dims["heads"]), dtype=torch.float32, device=device)
    table = None
    if spec.logit.bias is not None:
        assert inputs.extras is not None
        distances = torch.arange(0 if causal else 1 - length, length, dtype=torch.float64, device=device)
        bias = inputs.extras["bias"]
        table = bias.detach()[:, places(spec.logit.bias, distances)].requires_grad_(bias.requires_grad)
    origin = 0 if causal else length - 1

    def changed(score: Tensor, b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        steps = t - s
        if causal:
            steps = torch.where(steps > 0, steps, 0)
        leaves = {"dot": score, "distance": steps.to(score.dtype)}
        if "slope" in reads:
            leaves["slope"] = slope[h].to(score.dtype)
        if table is not None:
            leaves["bias"] = table[h, steps + origin].to(score.dtype)
        value: Tensor = body(leaves) if callable(body) else score * 0 + body
        return value

    return changed


def _built(expr: TypedExpr, dims: Mapping[str, int]) -> float | Value:
    """``expr`` as a number, or as a function of its leaves that ``torch.compile`` can follow."""
    match expr:
        case typed.Const(value=value):
            return float(value)
        case typed.Dimension(name=name):
            return float(dims[name])
        case typed.Leaf(name=name):
            return lambda leaves: leaves[name]
        case typed.Apply(op=op, args=args):
            parts = [_built(arg, dims) for arg in args]
            return _applied(op, parts)
    raise ValueError(f"a logit has no {type(expr).__name__}")


def _applied(op: str, parts: list[float | Value]) -> float | Value:
    if not any(callable(part) for part in parts):
        numbers = [torch.tensor(part, dtype=torch.float64) for part in parts]
        return float(_OPS[op](*numbers))
    function = _OPS[op]
    functions = [part if callable(part) else _constant(part) for part in parts]
    if len(functions) == 1:
        (only,) = functions
        return lambda leaves: function(only(leaves))
    if len(functions) == 2:
        left, right = functions
        return lambda leaves: function(left(leaves), right(leaves))
    one, two, three = functions
    return lambda leaves: function(one(leaves), two(leaves), three(leaves))


def _constant(value: float) -> Value:
    return lambda leaves: value


def _minimum(a: Any, b: Any) -> Any:
    return torch.where(a <= b, a, b)


def _maximum(a: Any, b: Any) -> Any:
    return torch.where(a >= b, a, b)


_OPS: dict[str, Callable[..., Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": lambda x: x * torch.sigmoid(x),
    "softplus": lambda x: _maximum(x, 0.0) + torch.log1p(torch.exp(-torch.abs(x))),
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "min": _minimum,
    "max": _maximum,
    "clamp": lambda x, low, high: _minimum(_maximum(x, low), high),
    "where": torch.where,
    "neg": operator.neg,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
}
