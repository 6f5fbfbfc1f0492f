"""How far a candidate's result may be from the default's: both round, and a rounded budget may choose a key more."""

from __future__ import annotations

from torch import Tensor, where

ROW = 0.1
"""How far one row may be off where nothing is chosen, in units of all rows' root mean square: far beyond rounding."""
CHOSEN_ROW = 1.0
"""The same where keys are chosen: by one key more or less, of a budget rounded to a count, a row was off by 0.1026."""
ROWS = 0.02
"""The root mean square of a head's errors, in the same unit: a lost tile of 8 queries of 9216 makes 0.03 to 0.04."""


def mistake(actual: Tensor, expected: Tensor, *, chooses: bool) -> str | None:
    """What is wrong with ``actual``; None for what rounding explains, and single ties where a spec ``chooses``."""
    worst, together = row_errors(actual, expected)
    allowed = CHOSEN_ROW if chooses else ROW
    # Written so that a NaN is wrong.
    if not worst <= allowed:
        return f"has a row that is off by {worst:.2g} of the default's ({allowed:g} allowed)"
    if not together <= ROWS:
        return f"is off by {together:.2g} of the default's over all rows ({ROWS:g} allowed)"
    return None


def row_errors(actual: Tensor, expected: Tensor) -> tuple[float, float]:
    """The worst row's distance, and the root mean square of rows' distances in the worst head.

    Both relative to the root mean square of all rows; a row is the features of a head at a position where there are
    four axes, else a single number. Equal infinities agree, NaN agrees with nothing.
    """
    # Few operations on whole tensors: each waits for the many processes that share the GPU.
    off = where(actual == expected, 0.0, actual.float() - expected.float())
    size = where(expected.isfinite(), expected.float(), 0.0)
    if expected.ndim == 4:
        off, size = off.norm(dim=-1), size.norm(dim=-1)
    else:
        off, size = off.abs().reshape(1, 1, -1), size.abs()
    scale = size.square().mean().sqrt().clamp_min(1e-30)
    # A tile that is lost in one head is not diluted by the others.
    return float(off.max() / scale), float(off.square().mean((0, 2)).max().sqrt() / scale)
