"""What a selection is held against: how far the scores of its rows may be off, and which units must score alike."""

from __future__ import annotations

import torch
from torch import Tensor

from gsa_dsl.reference.scores import key_scores
from gsa_dsl.reference.units import in_blocks, seen_units
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.compare import Alike
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.tolerance import score_error


class Scored:
    """The scores of ``inputs`` as far as a comparison needs them, some queries at a time.

    ``largest`` is the largest magnitude of a finite score of a key among the queries asked for so far.
    """

    def __init__(self, spec: CheckedSpec, inputs: Inputs, dtype: torch.dtype) -> None:
        assert spec.selection is not None
        self.spec, self.dtype, self.selection = spec, dtype, spec.selection
        self.exact, self.single = (inputs.scored_by(spec, kind) for kind in (torch.float64, torch.float32))
        self.kinds = self._kinds(inputs.query.shape[2])
        self.largest = 0.0

    def row_errors(self, tokens: Tensor, rows: slice) -> Tensor:
        """What the unit scores of each of ``rows`` may be off by, ``[N, R]``, made as they are of the scores of keys.

        Their largest and their mean are off by no more than a key's, their sum by as many times that as there are keys.
        ``tokens [B, R, K]``: those that these queries see.
        """
        pooled = self.spec.indexer is not None and self.spec.indexer.pool is not None
        visible = seen_units(tokens, self.selection.block) if pooled else tokens
        exact, single = (self._scores(parts, visible.shape[-1], rows) for parts in (self.exact, self.single))
        visible = visible.repeat_interleave(exact.shape[0] // visible.shape[0], 0)
        exact = exact.masked_fill(~visible, -torch.inf)
        self.largest = max(self.largest, torch.where(exact.isfinite(), exact.abs(), 0.0).amax().item())
        error = score_error(exact, single, self.dtype)
        error = error * (self.selection.block if self.selection.reduce == "sum" else 1)
        run = self.selection.queries
        return error[:, ::run].repeat_interleave(run, 1)[:, : error.shape[1]]

    def alike(self, tokens: Tensor) -> Alike | None:
        """Units of equal keys in ``tokens [B, R, K]``; None where scores are sums, whose rounding depends on order."""
        if self.kinds is None:
            return None
        whole = in_blocks(tokens, self.selection.block, False).all(-1)
        if self.spec.indexer is not None and self.spec.indexer.pool is not None:
            whole = seen_units(tokens, self.selection.block)
        times = self.kinds.shape[0] // tokens.shape[0]
        return Alike(self.kinds[:, : whole.shape[-1]], whole.repeat_interleave(times, 0))

    def _scores(self, parts: dict[str, Tensor], keys: int, rows: slice) -> Tensor:
        return key_scores(self.spec, {**parts, "k": parts["k"][:, :keys]}, rows)

    def _kinds(self, length: int) -> Tensor | None:
        """A number for each unit, ``[N, C]``, the same for units of the same keys."""
        block, keys = self.selection.block, self.exact["k"]
        if self.selection.reduce in ("sum", "mean"):
            return None
        if keys.shape[1] == length and block > 1:
            keys = in_blocks(keys.transpose(-1, -2), block, 0.0).transpose(1, 2).flatten(2)
        kinds = torch.stack([torch.unique(x.nan_to_num(), dim=0, return_inverse=True)[1] for x in keys])
        return kinds.repeat_interleave(self.exact["q"].shape[0] // keys.shape[0], 0)
