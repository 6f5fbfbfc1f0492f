"""What a selection is held against: how far the scores of its rows may be off, and which units must score alike."""

from __future__ import annotations

import torch
from torch import Tensor

from gsa_dsl.reference.scores import key_scores
from gsa_dsl.reference.units import in_blocks, seen_units
from gsa_dsl.reference.visible import visible_keys
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.compare import Alike
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.tolerance import score_error


def row_errors(spec: CheckedSpec, inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """What the unit scores of each row may be off by, ``[N, L]``, made as they are of the scores of keys.

    Their largest and their mean are off by no more than a key's, their sum by as many times that as there are keys.
    """
    assert spec.selection is not None
    exact, single = (key_scores(spec, inputs.scored_by(spec, kind)) for kind in (torch.float64, torch.float32))
    tokens = _tokens(spec, inputs)
    visible = tokens if exact.shape[-1] == tokens.shape[-1] else seen_units(tokens, spec.selection.block)
    visible = visible.repeat_interleave(exact.shape[0] // visible.shape[0], 0)
    error = score_error(exact.masked_fill(~visible, -torch.inf), single, dtype)
    error = error * (spec.selection.block if spec.selection.reduce == "sum" else 1)
    run = spec.selection.queries
    return error[:, ::run].repeat_interleave(run, 1)[:, : error.shape[1]]


def alike_units(spec: CheckedSpec, inputs: Inputs) -> Alike | None:
    """Units of equal keys; None where their scores are sums, whose rounding hangs on their place."""
    assert spec.selection is not None
    block = spec.selection.block
    if spec.selection.reduce in ("sum", "mean"):
        return None
    parts = inputs.scored_by(spec, torch.float64)
    tokens, keys = _tokens(spec, inputs), parts["k"]
    if keys.shape[1] == tokens.shape[-1] and block > 1:
        keys = in_blocks(keys.transpose(-1, -2), block, 0.0).transpose(1, 2).flatten(2)
    whole = in_blocks(tokens, block, False).all(-1)
    if spec.indexer is not None and spec.indexer.pool is not None:
        whole = seen_units(tokens, block)
    times = parts["q"].shape[0] // tokens.shape[0]
    return Alike(keys.repeat_interleave(parts["q"].shape[0] // keys.shape[0], 0), whole.repeat_interleave(times, 0))


def _tokens(spec: CheckedSpec, inputs: Inputs) -> Tensor:
    batch, _, length, _ = inputs.query.shape
    return visible_keys(spec, batch, length, inputs.query.device, inputs.documents)
