"""Blocks of positions: the last axis cut into runs of ``block``, the last of which may be short."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def in_blocks(x: Tensor, block: int, fill: float | bool) -> Tensor:
    """``x [..., L]`` as ``[..., C, block]``, the missing positions of the last block filled with ``fill``."""
    missing = -x.shape[-1] % block
    return pad(x, (0, missing), value=fill).reshape(*x.shape[:-1], -1, block)


def seen_units(visible: Tensor, block: int) -> Tensor:
    """The units that a query sees, bool ``[..., C]``: those in which it sees a position, of ``visible [..., L]``."""
    return visible if block == 1 else in_blocks(visible, block, False).any(-1)


def at_tokens(units: Tensor, block: int, length: int) -> Tensor:
    """What is known of units, ``[..., C]``, at each position of theirs: ``[..., L]``."""
    return units if block == 1 else units.repeat_interleave(block, -1)[..., :length]


def pooled(keys: Tensor, block: int, how: str) -> Tensor:
    """``keys [N, L, d]`` with those of each block made one, by their ``mean`` or elementwise ``max``: ``[N, C, d]``.

    Over the positions that exist. A NaN makes that feature of its block's key NaN, and gets no gradient.
    """
    by_feature = keys.transpose(-1, -2)
    if how == "mean":
        count = in_blocks(keys.new_ones(keys.shape[-2]), block, 0.0).sum(-1)
        return (in_blocks(by_feature, block, 0.0).sum(-1) / count).transpose(-1, -2)
    nan = by_feature.isnan()
    largest = in_blocks(torch.where(nan, -torch.inf, by_feature), block, -torch.inf).amax(-1)
    return torch.where(seen_units(nan, block), torch.nan, largest).transpose(-1, -2)


def reduced(scores: Tensor, visible: Tensor, block: int, how: str) -> Tensor:
    """The score of every block: the finite ones of ``scores [..., L]`` among the ``visible``, reduced; -inf without."""
    valid = visible & scores.isfinite()
    count = in_blocks(valid, block, False).sum(-1)
    if how == "max":
        return in_blocks(torch.where(valid, scores, -torch.inf), block, -torch.inf).amax(-1)
    total = in_blocks(torch.where(valid, scores, 0.0), block, 0.0).sum(-1)
    return torch.where(count > 0, total / count.clamp(min=1) if how == "mean" else total, -torch.inf)
