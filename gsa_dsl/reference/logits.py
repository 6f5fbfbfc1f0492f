"""The logits of a spec, dense: the scaled dot product, or whatever its ``logit`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gsa_dsl.reference.evaluate import Scope, evaluate
from gsa_dsl.sema.typed import PLACE_SLACK, CheckedSpec, Table


@dataclass(frozen=True, slots=True)
class Pairs:
    """What is known of the pairs of R queries, from position ``first`` on, and L keys.

    ``dot [B, H, R, L]``: q . k; ``score``, of the same shape or with one head: the indexer's; ``bias [H, places]``:
    the learned table; ``dimensions``: head_dim, heads and kv_heads.
    """

    dot: Tensor
    first: int
    score: Tensor | None
    bias: Tensor | None
    dimensions: Mapping[str, int]


def logits(spec: CheckedSpec, pairs: Pairs) -> Tensor:
    """What the softmax is taken of, ``[B, H, R, L]``; anything where a query does not see the key."""
    dot, dimensions = pairs.dot, pairs.dimensions
    if spec.logit is None:
        if spec.scale is None:
            return float(dimensions["head_dim"] ** -0.5) * dot
        return evaluate(spec.scale, Scope(dot, dimensions=dimensions)).item() * dot
    heads, rows, length = dot.shape[1:]
    t = torch.arange(pairs.first, pairs.first + rows, dtype=torch.float64, device=dot.device)
    distance = t.unsqueeze(1) - torch.arange(length, device=dot.device)
    if spec.causal:
        distance = distance.clamp(min=0)
    slope = torch.tensor(slopes(heads), dtype=dot.dtype, device=dot.device)
    leaves = {"dot": dot, "distance": distance.to(dot.dtype), "slope": slope.view(-1, 1, 1)}
    if pairs.score is not None:
        leaves["score"] = pairs.score
    if pairs.bias is not None and spec.logit.bias is not None:
        leaves["bias"] = pairs.bias[:, places(spec.logit.bias, distance)]
    return evaluate(spec.logit.body, Scope(dot, leaves=leaves, dimensions=dimensions)).expand_as(dot)


def places(table: Table, distance: Tensor) -> Tensor:
    """Where the table is read at each ``distance`` (float64), int64; in float64 whatever the logits are computed in."""
    value = evaluate(table.place, Scope(distance, leaves={"distance": distance}))
    return (value + PLACE_SLACK).floor().clamp(0, table.size - 1).long()


def slopes(heads: int) -> list[float]:
    """ALiBi's slope of each head, as its authors compute them (arXiv 2108.12409): 2^(-8/n), 2^(-16/n), ... for n heads,
    n a power of two; other numbers take those of the power below, then every other one of the power above.
    """
    power = 1 << (heads.bit_length() - 1)
    of_power = [2.0 ** (-8 * (head + 1) / power) for head in range(power)]
    if power == heads:
        return of_power
    return of_power + slopes(2 * power)[0::2][: heads - power]
