"""The loss that trains the indexers of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gsa_dsl.nn.attention import GSAttention


def indexer_loss(model: nn.Module) -> Tensor:
    """The sum of the indexer losses of the last training forward pass of every :class:`GSAttention` in ``model``.

    Add it to the loss before ``backward``; its gradient reaches the indexers' own parameters and nothing else.

    Returns:
        A 0-d tensor; zero for a model none of whose specs says ``train indexer``.

    Raises:
        RuntimeError: an indexer that is to be trained has not seen a forward pass in training mode.
    """
    losses: list[Tensor] = []
    for name, module in model.named_modules():
        if not isinstance(module, GSAttention) or module.compiled.spec.train is None:
            continue
        if module.indexer_loss is None:
            where = f"{name!r} of the model" if name else "the module"
            raise RuntimeError(f"{where} has no indexer loss yet: run a forward pass in training mode first")
        losses.append(module.indexer_loss)
    if not losses:
        parameter = next(model.parameters(), None)
        return torch.zeros((), device=None if parameter is None else parameter.device)
    return torch.stack([loss.to(losses[0].device) for loss in losses]).sum()
