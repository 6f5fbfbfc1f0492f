"""A simple cost model: what a choice surely needs of a GPU, and roughly how much work a tile size makes.

It is used to leave out what cannot be good and to try what is promising first; what is chosen, measurements decide.
"""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.passes.schedule import PRODUCT_COLUMNS
from gsa_dsl.tuning.space import BY_KEY, Choice, Group, Space

WGMMA_ROWS = 64
"""A tile of fewer rows leaves matrix instructions of this many partly idle."""
BALANCED_ROWS = 150
"""Rows at which a key's products take as long as fetching it: a Hopper GPU's matrix rate over its cache's."""
HOPELESS = 3.0
"""Times the least estimated work: the estimate is not off by that much."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one block of threads may have: bytes of shared memory, registers a thread, threads a warp."""

    shared: int
    registers: int = 255
    warp: int = 32


def impossible(space: Space, group: Group, choice: Choice, itemsize: int, limits: Limits) -> str | None:
    """Why the group's kernels cannot run well with ``choice`` (shared fields included); None where nothing says so.

    Both numbers are lower bounds: accumulators alone in registers, pipelined operands alone in shared memory.
    """
    values = dict(choice)
    if group.name not in _NEEDS:
        return None
    accumulators, shared = _NEEDS[group.name](space, values, itemsize)
    threads = _warps(group, values) * limits.warp
    if accumulators > limits.registers * threads:
        return f"its accumulators alone need {accumulators // threads} registers a thread of {limits.registers}"
    if shared > limits.shared:
        return f"its operands alone need {shared >> 10} KiB of shared memory of {limits.shared >> 10}"
    return None


def work(space: Space, tile: int, overlap: float | None) -> float:
    """Relative time of the attention's forward pass a query: products and fetches of the keys a tile chose together."""
    union = 1.0
    if overlap is not None:
        # Two sets with Jaccard index x share 2x / (1 + x) of a set, so each further query adds the rest.
        union += (tile - 1) * (1 - overlap) / (1 + overlap)
    rows = max(tile * space.group_pad, WGMMA_ROWS)
    return union / tile * (rows / BALANCED_ROWS + 1)


def hopeless(space: Space, tile: int, overlap: float | None) -> str | None:
    """Why no configuration with this tile can be the best; None where one may."""
    tiles = next(axis for axis in space.shared if axis.field == "tile").values
    ratio = work(space, tile, overlap) / min(work(space, other, overlap) for other in tiles)
    return f"the cost model expects {ratio:.1f} times the work of the best tile" if ratio > HOPELESS else None


def _warps(group: Group, values: dict[str, int]) -> int:
    return next(value for name, value in values.items() if name.endswith(".warps"))


def _attend(space: Space, x: dict[str, int], itemsize: int) -> tuple[int, int]:
    rows, keys = x["tile"] * space.group_pad, x["block_keys"]
    return rows * (space.dim + keys), _operands(rows, keys, space.dim, x["attend.stages"], 1, itemsize)


def _backward(space: Space, x: dict[str, int], itemsize: int) -> tuple[int, int]:
    rows, keys = x["tile"] * space.group_pad, x["backward_keys"]
    accumulators = rows * space.dim + 2 * rows * keys
    return accumulators, _operands(rows, keys, space.dim, x["backward.stages"], 2, itemsize)


def _by_key(space: Space, x: dict[str, int], itemsize: int) -> tuple[int, int]:
    rows, keys = max(min(x["backward_rows"], x["tile"] * space.group_pad), space.group_pad), x["backward_keys"]
    accumulators = 2 * keys * space.dim + 2 * rows * keys
    return accumulators, _operands(keys, rows, space.dim, x["by_key.stages"], 2, itemsize)


def _score(space: Space, x: dict[str, int], itemsize: int) -> tuple[int, int]:
    rows, keys, held = x["score_rows"], x["score_keys"], 0
    if space.stacked_heads:
        held = max(4 * rows, space.stacked_heads)
        rows = min(held, PRODUCT_COLUMNS)
    # A product and what is summed over heads.
    return 2 * rows * keys, (held + max(x["score.stages"] - 1, 1) * keys) * space.index_dim * itemsize


def _loss(space: Space, x: dict[str, int], itemsize: int) -> tuple[int, int]:
    rows, index_rows, keys = x["tile"] * space.group_pad, max(x["tile"], 16), x["backward_keys"]
    return keys * (rows + 2 * index_rows + space.index_dim), keys * (space.dim + space.index_dim) * itemsize


def _operands(rows: int, keys: int, dim: int, stages: int, of_rows: int, itemsize: int) -> int:
    return (of_rows * rows + max(stages - 1, 1) * 2 * keys) * dim * itemsize


_NEEDS = {"attend": _attend, "backward": _backward, BY_KEY: _by_key, "score": _score, "loss": _loss}
