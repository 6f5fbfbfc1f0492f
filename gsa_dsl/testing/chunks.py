"""Long sequences are compared some queries at a time: what is known of pairs never exists for all of them."""

from __future__ import annotations

from gsa_dsl.sema.typed import CheckedSpec

_PAIRS = 2**26  # queries times keys, for every choice that is made: half a GiB in float64


def chunks(spec: CheckedSpec, batch: int, kv_heads: int, length: int) -> list[slice]:
    """The queries of B sequences of L tokens in runs to compare together: for B = 1 all of them up to L = 8192.

    Queries that share a choice are not parted.
    """
    selection = spec.selection
    choices = batch * (kv_heads if selection is not None and selection.per_kv_head else 1)
    run = selection.queries if selection is not None else 1
    step = max(_PAIRS // (choices * length) // run, 1) * run
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
