"""The indexer's scores, dense: of tokens as the loss and the logits read them, and of the units that are chosen.

Kv heads that choose for themselves are part of the batch here: N is the batch, or the batch times the kv heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gsa_dsl.reference.evaluate import Scope, evaluate, pairwise_dot
from gsa_dsl.reference.units import at_tokens, pooled, reduced
from gsa_dsl.sema.typed import CheckedSpec

_BLOCK_ELEMENTS = 2**24  # of one [B, heads, rows, L] tensor: 128 MiB in float64


def row_blocks(heads: int, length: int, rows: slice) -> Iterator[slice]:
    """``rows`` in runs of which a tensor [heads, rows, length] keeps within memory."""
    step = max(1, _BLOCK_ELEMENTS // (heads * length))
    return (slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step))


def prepared(spec: CheckedSpec, query: Tensor, key: Tensor, index: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What scores are made of: q ``[N, J, L, dI]``, k ``[N, L, dI]`` (``[N, C, dI]`` if pooled), w ``[N, J, L]``, b.

    ``query`` and ``key`` are the attention's own as passed, which ``keys attention`` scores with, without gradient.
    """
    indexer, selection = spec.indexer, spec.selection
    if indexer is None or selection is None:
        return {}
    kv_heads = key.shape[1]
    parts = dict(index)
    if indexer.keys == "attention":
        q = query.detach()
        parts = {"q": q.reshape(q.shape[0], kv_heads, -1, *q.shape[2:]), "k": key.detach()}
    if selection.per_kv_head:
        if indexer.keys == "shared":
            parts["k"] = parts["k"].unsqueeze(1).expand(-1, kv_heads, -1, -1)
        parts = {name: x if name == "b" else x.flatten(0, 1) for name, x in parts.items()}
    if indexer.pool is not None:
        parts["k"] = pooled(parts["k"], selection.block, indexer.pool)
    return parts


def score_rows(spec: CheckedSpec, parts: Mapping[str, Tensor], rows: slice, length: int) -> Tensor:
    """``score[t, s]`` of the queries t in ``rows`` and ``length`` tokens s, ``[N, R, L]``; differentiable in ``parts``.

    A pooled key's score is that of each token of its block; under ``causal`` the query's own block has none (-inf).
    """
    scores = _key_scores(spec, parts, rows)
    if spec.indexer is None or spec.indexer.pool is None or spec.selection is None:
        return scores
    return at_tokens(scores, spec.selection.block, length)


def key_scores(spec: CheckedSpec, parts: Mapping[str, Tensor], rows: slice | None = None) -> Tensor:
    """The score of every key, of a token or pooled, for every query, or those in ``rows``: ``[N, L, keys]``."""
    heads, length = parts["q"].shape[0] * parts["q"].shape[1], parts["q"].shape[2]
    blocks = row_blocks(heads, length, rows or slice(0, length))
    return torch.cat([_key_scores(spec, parts, block) for block in blocks], 1)


def unit_scores(spec: CheckedSpec, parts: Mapping[str, Tensor], tokens: Tensor, rows: slice | None = None) -> Tensor:
    """The score of every unit, ``[N, L, C]``, for every query or those in ``rows``.

    ``tokens [B, L, L]``: those that these queries see.
    """
    scores = key_scores(spec, parts, rows)
    selection = spec.selection
    if selection is None or selection.reduce is None:
        return scores
    visible = tokens.repeat_interleave(scores.shape[0] // tokens.shape[0], 0)
    return reduced(scores, visible, selection.block, selection.reduce)


def _key_scores(spec: CheckedSpec, parts: Mapping[str, Tensor], rows: slice) -> Tensor:
    """The scores of :func:`key_scores` for the queries in ``rows``."""
    assert spec.indexer is not None
    assert spec.selection is not None
    q, k = parts["q"][:, :, rows], parts["k"]
    leaves = {}
    if "w" in parts:
        leaves["w"] = parts["w"][:, :, rows].unsqueeze(-1)
    if "b" in parts:
        leaves["b"] = parts["b"][None, :, None, None]
    sizes = {"head_dim": q.shape[-1], "group": q.shape[1]}
    scope = Scope(q, leaves=leaves, dot=pairwise_dot(q, k), dimensions=sizes, heads=q.shape[1])
    value = evaluate(spec.indexer.score, scope).squeeze(1).expand(q.shape[0], q.shape[2], k.shape[1])
    if spec.indexer.pool is None or not spec.causal:
        return value
    own = torch.arange(rows.start, rows.stop, device=q.device) // spec.selection.block
    later = own.unsqueeze(-1) == torch.arange(k.shape[1], device=q.device)
    return value.masked_fill(later, -torch.inf)
