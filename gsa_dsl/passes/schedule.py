"""The planner's default tile sizes: a function of the head shape alone, so that a compilation is reproducible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gsa_dsl.options import KernelConfig, Launch

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import HeadShape

ROWS = 128
"""Rows of a query tile (queries x query heads per kv head): two wgmma tiles, what fits in registers at dim 128."""


def next_power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()


def default_config(shape: HeadShape, *, listed: bool) -> KernelConfig:
    """Tiles of ``ROWS`` rows where the group allows; lists hold at most 32 queries (a mask word), at best 16."""
    group = next_power_of_two(shape.group)
    most = 16 if listed else 32
    tile = max(1, min(most, ROWS // group))
    rows = tile * group
    if rows < 16:
        tile, rows = 16 // group, 16
    wide = next_power_of_two(shape.head_dim) > 128
    return KernelConfig(
        tile=tile,
        block_keys=32 if wide else 64,
        backward_keys=32 if wide else 64,
        backward=Launch(8 if rows >= 128 else 4, 2),
    )
