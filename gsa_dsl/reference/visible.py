"""Which keys a query sees at all, and which it always attends to: what a spec says beside scores, as masks."""

from __future__ import annotations

import torch
from torch import Tensor

from gsa_dsl.sema.typed import CheckedSpec


def document_numbers(documents: Tensor) -> Tensor:
    """Documents numbered from 0 within each sequence, int64 ``[B, L]``: a run of equal ids is one document."""
    begins = documents[:, 1:] != documents[:, :-1]
    return torch.nn.functional.pad(begins.long().cumsum(-1), (1, 0))


def visible_keys(
    spec: CheckedSpec,
    batch: int,
    length: int,
    device: torch.device,
    documents: Tensor | None = None,
    rows: slice | None = None,
) -> Tensor:
    """The keys that each query sees, bool ``[B, L, L]``: of its document, and no later one if the spec is causal.

    ``documents [B, L]``: integer ids, needed where the spec says ``documents``. Of the queries in ``rows`` alone, where
    given, and of the keys up to :func:`reach`: ``[B, R, K]``.
    """
    rows = rows or slice(0, length)
    s = torch.arange(reach(spec, length, rows), device=device)
    t = torch.arange(rows.start, rows.stop, device=device).unsqueeze(-1)
    visible = (s <= t if spec.causal else (s >= 0).expand(len(t), -1)).expand(batch, -1, -1)
    if spec.documents and documents is not None:
        number = document_numbers(documents)
        visible = visible & (number[:, rows].unsqueeze(-1) == number[:, : len(s)].unsqueeze(-2))
    return visible


def reach(spec: CheckedSpec, length: int, rows: slice) -> int:
    """The number of keys, from the first on, beyond which no query in ``rows`` sees any."""
    return rows.stop if spec.causal else length


def forced_units(spec: CheckedSpec, visible: Tensor, begin: int = 0) -> Tensor:
    """The units that each query always attends to: of those it sees (``visible [..., L, C]``), the first and the near.

    How near a unit is counts from the one that the query lies in; the queries are those from ``begin`` on.
    """
    block = spec.selection.block if spec.selection is not None else 1
    length, columns = visible.shape[-2:]
    own = torch.arange(begin, begin + length, device=visible.device) // block
    near = (own.unsqueeze(-1) - torch.arange(columns, device=visible.device)).abs() < spec.forced.last
    first = visible.cumsum(-1) <= spec.forced.first
    return visible & (first | near)
