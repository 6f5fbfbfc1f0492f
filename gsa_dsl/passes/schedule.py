"""The planner's schedules and default tile sizes: functions of spec and head shape, so that a compilation repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gsa_dsl.options import KernelConfig, Launch

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import Grain, HeadShape, Plan

ROWS = 128
"""Rows of a query tile (queries x query heads per kv head): two wgmma tiles, what fits in registers at dim 128."""


UNLIKE = {128: 40, 64: 66}
"""``KernelConfig.gather`` by the rows of a tile: what a key costs one query, in percent of what it costs a tile, on an
H100 at 64 heads to 4 and 32 to 8. Narrower tiles cost no more than a query does.
"""

UNROLLED_HEADS = 8
"""Up to this many index heads a kernel's loop over them is unrolled; the queries of more are columns of one product."""

PRODUCT_COLUMNS = 128
"""Queries times index heads of one product, where heads are many."""


def next_power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()


def float32_fits(shape: HeadShape, *, listed: bool) -> bool:
    """Whether the backward's tiles of float32 operands fit a GPU's shared memory: a tile holds a whole group's rows.

    Read off the compiler for sm_90, at the smallest tiles: lists, whose kernel adds up the keys' gradients too, take
    272 KiB of 227 at 64 heads of 128 features; ranges take 192 there, and 288 at 64 heads of 256.
    """
    dim = max(16, next_power_of_two(max(shape.head_dim, shape.value_dim)))
    return next_power_of_two(shape.group) * dim <= (4096 if listed else 8192)


def default_config(
    shape: HeadShape,
    grain: Grain | None,
    itemsize: int = 2,
    *,
    bias: bool = False,
    index: tuple[int, int] | None = None,
) -> KernelConfig:
    """Tiles of ``ROWS`` rows where the group allows; lists hold at most 32 queries (a mask word), at best 16.

    ``grain`` is how fine a choice is, None where nothing is chosen: where all queries of a tile share one, it may hold
    32. ``itemsize`` is the operands' in bytes: four-byte operands get smaller tiles, since shared memory holds the
    backward's query, output gradient, key and value tiles at once. ``bias``: whether logits read a table, whose numbers
    for pairs of a query and a key wait there beside the keys. ``index``: how many heads an indexer has, and of how many
    features.
    """
    base = KernelConfig()
    group = next_power_of_two(shape.group)
    dim = max(16, next_power_of_two(max(shape.head_dim, shape.value_dim)))
    narrow = (dim > 128) + (itemsize > 2)
    # Float32 products are split in three on their way, so wide heads need half the rows once more.
    halvings = (dim > 128) + (itemsize > 2) + (itemsize > 2 and dim > 64)
    most = 16 if grain is not None and grain.queries % 32 else 32
    tile = max(1, min(most, (ROWS >> halvings) // group))
    tile = max(tile, 16 // group)
    rows = tile * group
    keys = max(16, 64 >> narrow)
    tokens = grain is None or grain.block == 1
    alike = not bias and (grain is None or (grain.block >= keys and grain.queries % tile == 0))
    stacked = tokens and index is not None and index[0] > UNROLLED_HEADS
    # What is held of many heads' queries leaves room for a second program, at 128 features of two bytes each.
    wide = 1 if index is None else max(next_power_of_two(index[1]) // 128, 1) * itemsize // 2
    # A third stage pays where a tile's queries walk alike, and where it has few of them; measured on H100 and H200.
    few = grain is not None and not tokens and group >= 16
    return KernelConfig(
        tile=tile,
        score_rows=max(base.score_rows // wide, 16) if stacked else base.score_rows,
        score_keys=64 if stacked else base.score_keys,
        strip=32 if stacked else base.strip,
        block_keys=keys,
        backward_keys=keys,
        # As many scores a step of the lists at every tile: more do not fit in registers. Rows of blocks are short.
        list_keys=min(1024, 8192 // tile) if tokens else 256,
        lists=base.lists if tokens else Launch(2, 1),
        # Pooled keys are float32, of which shared memory holds but one step's.
        score=Launch(4, 1) if grain is not None and grain.pool is not None else Launch(4, 2) if stacked else base.score,
        backward=Launch(8 if rows >= 128 else 4, 3 if (alike or few) and not narrow else 2 if narrow < 2 else 1),
        # Ranges have queries enough in a row for larger steps; measured on an H100.
        backward_rows=64 if tokens else 32,
        by_key=Launch(4, 2 if tokens and not narrow else max(3 - narrow, 1)),
        gather=UNLIKE.get(rows, 100) if grain is not None and tile > 1 else 100,
        loss=base.loss if tokens else Launch(4, 2),
    )


def held_queries(config: KernelConfig, heads: int) -> int:
    """How many queries a program of scores holds, of an indexer of many ``heads``: four columns of products a row."""
    return max(4 * config.score_rows // next_power_of_two(heads), 1)


def config_for(plan: Plan, itemsize: int = 2) -> KernelConfig:
    """The planner's configuration of a plan, for operands of ``itemsize`` bytes."""
    index = None if plan.score is None else (plan.score.heads, plan.score.dim)
    return default_config(plan.shape, plan.chosen, itemsize, bias=plan.has_bias, index=index)


def gathers(plan: Plan) -> bool:
    """Whether queries that share little with their neighbours are attended to one at a time: each chooses tokens."""
    config, grain = plan.config, plan.grain
    return plan.listed and config.gather < 100 and grain.block == 1 and grain.queries == 1 and not plan.soft


def hopper_refused(plan: Plan) -> str | None:
    """Why the warps of a plan's forward cannot have jobs of their own on Hopper; None where they can.

    Two groups of warps have half of a tile's rows each, 64, the fewest of Hopper's matrix instruction for such a group;
    keys are copied 16 bytes at a time, to where products read them.
    """
    shape, grain, config = plan.shape, plan.grain, plan.config
    rows = config.tile * next_power_of_two(shape.group)
    if not plan.listed or grain.block > 1:
        return "no tokens are chosen"
    if plan.soft or plan.logit is not None or plan.scale <= 0 or plan.sink_origin is not None:
        return "its logits are more than scaled products"
    if shape.head_dim != shape.value_dim or shape.head_dim not in (64, 128):
        return f"heads must have 64 or 128 features, of keys and of values, not {shape.head_dim} and {shape.value_dim}"
    if rows != ROWS:
        return f"tile times query heads per kv head must be {ROWS}, not {rows}"
    return None


def kv_outer(plan: Plan) -> bool:
    """Whether a program takes the gradients of a block's keys, over the queries that chose it: steps within a block."""
    return plan.config.kv_outer > 0 and plan.grain.block >= max(plan.config.backward_keys, 2)


def in_pieces(plan: Plan) -> bool:
    """Whether the keys of every step of the walk lie side by side: ranges, and steps within a block."""
    grain, config = plan.grain, plan.config
    return not plan.listed or grain.block >= max(config.block_keys, config.backward_keys, 2)


def describes(plan: Plan) -> bool:
    """Whether hardware may be told such keys by descriptors: features by 16 bytes, of two bytes or four."""
    return in_pieces(plan) and plan.shape.head_dim % 8 == 0 and plan.shape.value_dim % 8 == 0


def schedules(plan: Plan) -> dict[str, str]:
    """In words, which schedule the forward and the backward take."""
    if not plan.listed:
        return {"forward": "ranges of keys, a tile of queries at a time", "backward": "queries, then keys outermost"}
    forward = "the union of a tile's keys"
    if gathers(plan):
        share = plan.config.gather
        forward += f"; a query at a time where it holds over {share} % of what its queries chose" if share else ""
        forward = forward if share else "a query at a time"
    if plan.config.hopper:
        forward += "; on Hopper by warps of which some copy keys"
    backward = "queries outermost, gradients of keys added atomically"
    if kv_outer(plan):
        backward = f"queries, then keys outermost, {plan.config.kv_outer} tiles of queries a program at most"
    return {"forward": forward, "backward": backward}
