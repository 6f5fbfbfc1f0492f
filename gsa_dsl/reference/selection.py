"""Which units each query attends to: the forced ones, and of the rest as many as its budget says, by score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gsa_dsl.reference.statistics import budget_values
from gsa_dsl.reference.visible import forced_units
from gsa_dsl.sema.typed import CheckedSpec


@dataclass(frozen=True, slots=True)
class Choice:
    """``selected [N, L, C]``: the units attended to; ``budget [N, L]``, and its value ``exact`` before rounding."""

    selected: Tensor
    budget: Tensor
    exact: Tensor


def select(spec: CheckedSpec, scores: Tensor, visible: Tensor, state: Tensor, begin: int = 0) -> Choice:
    """The choice of every query, by ``scores`` among the ``visible``, both ``[N, L, C]``.

    Queries that share a choice use that of the first of them, beside their own forced units; the first query is at
    position ``begin``, which is the first of its run.
    """
    assert spec.selection is not None
    run, length = spec.selection.queries, scores.shape[1]
    forced = forced_units(spec, visible, begin)
    first = slice(None, None, run)
    exact = budget_values(spec.selection, scores[:, first], visible[:, first], state)
    chosen, budget = choose(scores[:, first], exact, visible[:, first] & ~forced[:, first])

    def shared(x: Tensor) -> Tensor:
        return x.repeat_interleave(run, 1)[:, :length]

    return Choice(visible & (shared(chosen) | forced), shared(budget), shared(exact))


def choose(scores: Tensor, exact: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """The units chosen by score, bool ``[N, R, C]``, and how many, int64 ``[N, R]``.

    Of the ``candidates`` with a finite score; of equal scores the smaller position goes first.
    """
    candidates = candidates & scores.isfinite()
    k = torch.minimum(exact.floor().long(), candidates.sum(-1))
    order = torch.where(candidates, scores, -torch.inf).sort(stable=True, dim=-1, descending=True).indices
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(-1, order, places)
    return candidates & (rank < k.unsqueeze(-1)), k
