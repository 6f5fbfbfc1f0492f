"""How much a call attends to, counted from the choice it made."""

from __future__ import annotations

from torch import Tensor

from gsa_dsl.reference.units import at_tokens
from gsa_dsl.reference.visible import forced_units, visible_keys
from gsa_dsl.results import Selection
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.inputs import Inputs

_PAIRS = 1 << 26  # of a query and a key, looked at together


def pairs_attended(spec: CheckedSpec, inputs: Inputs, selection: Selection | None) -> int:
    """The (query, key) pairs that one sequence of ``inputs`` attends to, a mean over the kv heads that choose.

    ``selection`` is what a call chose; without one it is every key a query sees, or those that are forced.
    """
    batch, _, length, _ = inputs.query.shape
    choosers = inputs.key.shape[1] if spec.selection is not None and spec.selection.per_kv_head else 1
    step = max(_PAIRS // (batch * choosers * length), 1)
    pairs = 0
    for start in range(0, length, step):
        rows = slice(start, min(start + step, length))
        tokens = visible_keys(spec, batch, length, inputs.query.device, inputs.documents, rows)
        pairs += int(_attended(spec, tokens, selection, rows).sum())
    return round(pairs / (batch * choosers))


def _attended(spec: CheckedSpec, tokens: Tensor, selection: Selection | None, rows: slice) -> Tensor:
    """The tokens that some queries attend to, of those they see (``tokens [B, R, K]``); kv heads that choose by
    themselves after the batch.
    """
    if selection is None:
        return forced_units(spec, tokens, rows.start) if spec.forced.span is not None else tokens
    assert spec.selection is not None
    keys = tokens.shape[-1]
    units = chosen_units(spec, selection, rows, keys)
    seen = tokens if units.dim() == tokens.dim() else tokens.unsqueeze(1)
    return at_tokens(units, spec.selection.block, keys) & seen


def chosen_units(spec: CheckedSpec, selection: Selection, rows: slice, keys: int) -> Tensor:
    """The units among the first ``keys`` positions that the queries in ``rows`` attend to, as ``Selection.mask``."""
    block = spec.selection.block if spec.selection is not None else 1
    return selection.mask(rows)[..., : -(-keys // block)]
