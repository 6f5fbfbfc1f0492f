"""What a call returns beside its output, and how it passes a choice on to another call."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from gsa_dsl.runtime import validate


@dataclass(frozen=True)
class Selection:
    """The keys each query attended to. Opaque to the caller but for :meth:`mask`; may be passed to a later call."""

    lists: Any
    length: int
    module: ModuleType

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the mask."""
        meta, sets = self.module.META, self.lists.pos.shape[0]
        batch = sets // meta["kv_heads"] if meta.get("grain", {}).get("per_kv_head") else sets
        return validate.choice_shape(meta, batch, self.length)[0]

    @property
    def device(self) -> torch.device:
        device: torch.device = self.lists.pos.device
        return device

    def mask(self, rows: slice | None = None) -> torch.Tensor:
        """The choice as bool [batch, query, key]; an L x L tensor, for tests and pictures.

        Where the spec selects blocks, of blocks: [batch, query, block]; per kv head, [batch, kv_heads, query, ...].
        ``rows``, with a start and a stop, picks queries before the mask is made.
        """
        if rows is None:
            mask: torch.Tensor = self.module.mask_from_lists(self.lists, self.length)
            return mask.view(self.shape)
        # A list is of a query on eager torch, else of a tile of them.
        tile = 1 if self.lists.pos.shape[1] == self.length else self.module.TILE.value
        first, last = rows.start // tile, -(-rows.stop // tile)
        lists = type(self.lists)(*(x[:, first:last] for x in self.lists))
        mask = self.module.mask_from_lists(lists, self.length)[:, rows.start - first * tile : rows.stop - first * tile]
        return mask.reshape(*self.shape[:-2], *mask.shape[-2:])


@dataclass(frozen=True)
class Aux:
    """What a call returns beside the output.

    lse: [batch, heads, length] float32, natural logarithm of the softmax normaliser over the attended keys
        (float64 for float64 operands, as the loss).
    budget: [batch, length] int32, keys chosen per query beside the forced ones; None without an indexer or in warm-up.
    indexer_loss: 0-d float32, mean over queries of the KL; None unless the spec says ``train indexer with kl``.
    ema_inputs: [emas] float32, this call's mean of each ``ema(...)``; None where the spec has none.
    selection: the chosen keys; None when every visible key was attended to.
    """

    lse: torch.Tensor
    budget: torch.Tensor | None
    indexer_loss: torch.Tensor | None
    ema_inputs: torch.Tensor | None
    selection: Selection | None
