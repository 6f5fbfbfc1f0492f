"""Compiled attention as a PyTorch module, and the loss that trains its indexers."""

from gsa_dsl.nn.attention import GSAttention
from gsa_dsl.nn.loss import indexer_loss

__all__ = ["GSAttention", "indexer_loss"]
