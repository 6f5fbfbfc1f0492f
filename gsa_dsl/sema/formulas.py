"""What each construct costs, as formulas of the shape: one function a construct, all in one place.

Symbols: L positions, B sequences, H query heads, Hkv kv heads, D the head dimension of queries and keys, Dv that
of values, J indexer heads of dI features;
``itemsize`` bytes an element of q, k, v. ``pairs`` is a number of (query, key) pairs of one sequence; how many scores
are taken for a choice, of what and by whom, is its :class:`~gsa_dsl.sema.grain.Grain`. Packed documents count as one
document of the whole length, the most they can cost.

flops:    scalar operations of the forward pass, and of the indexer's own training; a multiply-add is two.
bytes:    read and written, forward: a tensor once a pass, keys once a tile of queries, chosen keys once a query.
memory:   bytes set aside beside inputs and outputs (gradients are outputs), what the backward pass reads included.
selected: the most keys one query gets by the construct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gsa_dsl.gate_shapes import gate_axes
from gsa_dsl.options import CHUNK_ROWS, KernelConfig
from gsa_dsl.sema.algebra import ONE, ZERO, Expr, maximum, minimum, summed
from gsa_dsl.sema.counting import Times, operations
from gsa_dsl.sema.grain import Grain
from gsa_dsl.sema.symbols import DI, DV, HKV, ITEMSIZE, B, D, H, J, L
from gsa_dsl.sema.typed import GateSpec, IndexerSpec, LogitSpec, TypedExpr

# Queries that read keys and values together: in attention over a range of positions, and in the indexer.
ATTENTION_TILE = 32
INDEXER_TILE = KernelConfig().score_rows
WORKSPACE = KernelConfig().workspace_mib * 2**20

# An exact selection by 8-bit digits of 32-bit scores: each pass takes a digit and counts it, then keys are compared
# with the threshold and given a place.
RADIX_PASSES = 4
RADIX_FLOPS = 2
PLACE_FLOPS = 2

# Of one logit: scale, running maximum, difference, exponential, sum.
SOFTMAX_FLOPS = 5
# Of one chosen key: temperature, maximum, difference, exponential, sum; then mean over heads, log, difference, product,
# sum.
KL_FLOPS = 10
# Of one chosen key: the difference of the two distributions, over temperature and positions.
KL_GRADIENT_FLOPS = 3
# Of one logit whose probability is taken again: scale, less the normaliser, exponential, sum over heads.
PROBABILITY_FLOPS = 4

# Of one logit whose gradient is taken again: the product with the output's gradient less the row's share, times the
# probability, times the slope by the score, sum over heads.
LOGIT_GRADIENT_FLOPS = 4
# Of a row's sink: its exponential, and the sum.
SINK_FLOPS = 2

# ``top_p`` adds up the softmax by 4-bit digits of 32-bit scores: each pass takes the difference from the largest score,
# the exponential, a digit and a sum.
MASS_PASSES = 8
MASS_FLOPS = 4
# Of a row statistic: operations a score, and a row.
STATISTIC_FLOPS: dict[str, tuple[int, int]] = {
    "var": (3, 4),
    "mean": (1, 1),
    "max": (1, 0),
    "min": (1, 0),
    "count": (1, 0),
    "entropy": (5, 3),
    "top_p": (MASS_PASSES * MASS_FLOPS + 5, 4),
    "above": (2, 0),
}
# How often a row's scores are read for it, after the first time, which is for all statistics.
STATISTIC_WALKS = {"entropy": 1, "top_p": MASS_PASSES + 2}
# Of a position: whether a document begins there, or ends, and the last begin before it and the first end after.
DOCUMENT_FLOPS = 4
# Of a running mean: the mean over the batch and all positions is counted a row; then old and new are mixed.
EMA_FLOPS = 3


@dataclass(frozen=True, slots=True)
class Formula:
    """The four costs of one construct."""

    flops: Expr = ZERO
    bytes: Expr = ZERO
    memory: Expr = ZERO
    selected: Expr = ZERO


def times(pairs: Expr, heads: Expr = J, width: Expr = D, rows: Expr = L) -> Times:
    """How often something is computed whose scores are taken for ``pairs``, by each of the ``rows``.

    ``heads`` counts h or j, ``width`` d.
    """

    def count(free: frozenset[str], batched: bool) -> Expr:
        result = B if batched else ONE
        if {"t", "s"} <= free:
            result *= pairs
        elif free & {"t", "s"}:
            result *= rows
        if free & {"j", "h"}:
            result *= heads
        if "d" in free:
            result *= width
        return result

    return count


def gate(spec: GateSpec, *, first: bool) -> Formula:
    """A gate: its function of ``linear(x)`` and of what it is given (its inputs), then one product an element.

    The first gate of a target keeps a copy: of the gated query, key or value, which attention reads, or of the output
    before its gate, which the gate's gradient needs. A factor shared by the heads is laid out for each in float32.
    """
    sizes = {"heads": H, "kv_heads": HKV, "head_dim": D, "value_dim": DV}
    _, heads_name, _, width_name = gate_axes(spec.target, "element")
    heads, width = sizes[heads_name], sizes[width_name]
    elements = B * L * heads * width
    one_input = {"element": elements, "head": B * L * heads, "shared": B * L}[spec.granularity]
    spread = 4 * len(spec.tensors) * B * L * heads if spec.granularity == "shared" else ZERO
    copy = elements * ITEMSIZE if first else ZERO
    moved = len(spec.tensors) * one_input * ITEMSIZE + (1 if spec.target == "output" else 2) * copy + 2 * spread
    return Formula(operations(spec.body, times(ZERO, heads, width)) + elements, moved, copy + spread)


def documents() -> Formula:
    """Where the document of each position begins and ends, from its id (8 bytes) and its neighbours'."""
    return Formula(DOCUMENT_FLOPS * B * L, 16 * B * L, 8 * B * L)


def indexer(spec: IndexerSpec, grain: Grain) -> Formula:
    """Every score of a query and a unit it can see, into a bounded workspace of at least one row.

    A unit's score is one more operation for each of its tokens', or that of its pooled key.
    """
    rows, keys = grain.choosers * grain.rows, L if spec.pool is None else grain.units
    width, heads = grain.width, grain.heads
    read = {
        "q": B * rows * heads * width,
        "k": B * (grain.choosers * grain.scored / INDEXER_TILE + grain.owners * keys) * width,
        "w": B * rows * heads,
        "b": heads,
    }
    columns = B * grain.choosers * grain.columns
    flops = grain.choosers * _scores(spec, grain.scored, grain, grain.rows)
    if grain.reduced:
        flops += B * grain.choosers * grain.scored
    moved = summed([read[name] for name in spec.tensors]) * ITEMSIZE + 4 * columns
    whole = 4 * B * rows * grain.units
    kept = minimum(whole, maximum(WORKSPACE, minimum(4 * WORKSPACE, 4 * CHUNK_ROWS * B * grain.choosers * grain.units)))
    pooling = _pooling(spec, grain)
    return Formula(flops + pooling.flops, moved + pooling.bytes, maximum(4 * grain.units, kept) + pooling.memory)


def _pooling(spec: IndexerSpec, grain: Grain) -> Formula:
    """The keys of a block made one, in float32: read once, an operation each, and a division for a mean."""
    if spec.pool is None:
        return Formula()
    numbers, pooled = (B * grain.owners * count * grain.width for count in (L, grain.units))
    flops = numbers + pooled if spec.pool == "mean" else numbers
    return Formula(flops, numbers * ITEMSIZE + 4 * pooled, 4 * pooled)


def _scores(spec: IndexerSpec, pairs: Expr, grain: Grain, rows: Expr = L) -> Expr:
    """The operations of one chooser's scores of ``pairs``."""
    return operations(spec.score, times(pairs, grain.heads, rows=rows), grain.width)


def budget(expr: TypedExpr, row_statistics: Sequence[str], slots: int, grain: Grain) -> Formula:
    """A budget a row: statistics over the row's scores, the expression, and the means its running means take up."""
    rows, scores = B * grain.choosers * grain.rows, B * grain.choosers * grain.columns
    flops = grain.choosers * operations(expr, times(ZERO, rows=grain.rows)) + slots * (rows + EMA_FLOPS)
    for name in row_statistics:
        a_score, a_row = STATISTIC_FLOPS[name]
        flops += a_score * scores + a_row * rows
    walks = 1 + sum(STATISTIC_WALKS.get(name, 0) for name in row_statistics) if row_statistics else 0
    reads = 4 * walks * scores
    kept = 4 * rows * (len(row_statistics) + slots)
    return Formula(flops, reads + 2 * kept, kept)


def select(budget_most: Expr, listed: Expr, places: Expr, grain: Grain) -> Formula:
    """The exact top units of every row, as a list of at most ``listed`` of them, ``places`` in all for a chooser."""
    scores = B * grain.choosers * grain.columns
    flops = (RADIX_PASSES * RADIX_FLOPS + PLACE_FLOPS) * scores
    moved = (RADIX_PASSES + 1) * 4 * scores + 4 * B * grain.choosers * places
    memory = 4 * B * grain.choosers * grain.rows * (minimum(listed, grain.units) + 1)
    return Formula(flops, moved, memory, minimum(budget_most * grain.block, L))


def always(forced: Expr, grain: Grain) -> Formula:
    """Forced units: their attention is counted with the rest."""
    return Formula(selected=minimum(forced * grain.block, L))


def attention(pairs: Expr, places: Expr, grain: Grain, *, listed: bool, dense: bool) -> Formula:
    """``q . k`` and ``p v`` for every pair and head; keeps one normaliser a row for the backward pass.

    Listed keys are read once a run of queries, by its ``places`` in the lists.
    """
    outer = B * L * H * (D + DV) * ITEMSIZE + 4 * B * L * H
    reads = pairs / grain.run if listed else pairs / ATTENTION_TILE + L
    keys = B * reads * HKV * (D + DV) * ITEMSIZE + (4 * B * grain.choosers * places if listed else ZERO)
    return Formula(2 * B * pairs * H * (D + DV), outer + keys, 4 * B * L * H, L if dense else ZERO)


def softmax(pairs: Expr) -> Formula:
    """The weights of every pair and head, and a row's division by their sum and its logarithm."""
    return Formula(B * H * (SOFTMAX_FLOPS * pairs + L * (DV + 2)))


def logit(spec: LogitSpec, indexer: IndexerSpec | None, pairs: Expr, grain: Grain, *, listed: bool) -> Formula:
    """A logit of every pair and head; scores it reads are taken again for every kv head, from keys read again.

    Its table is laid out by distance, a number a head and position, and read as keys are.
    """
    flops = operations(spec.body, times(pairs, H))
    reads = pairs if listed else pairs / ATTENTION_TILE + L
    moved = memory = ZERO
    if spec.bias is not None:
        flops += operations(spec.bias.place, times(L))
        memory = 4 * H * L + 4 * L
        moved += memory + 4 * B * H * reads
    if "score" in spec.reads and indexer is not None:
        flops += HKV * _scores(indexer, pairs, grain)
        moved += HKV * (B * L * J * DI + B * reads * DI) * ITEMSIZE
    return Formula(flops, moved, memory)


def sink() -> Formula:
    """One more exponential in the sum of every row."""
    return Formula(SINK_FLOPS * B * H * L, 4 * H)


def logit_gradient(spec: IndexerSpec, pairs: Expr, grain: Grain) -> Formula:
    """The indexer's gradient through the logits: these taken again, then each operation of a score twice."""
    scores = grain.choosers * _scores(spec, pairs, grain)
    products = B * pairs * H * (4 * D + PROBABILITY_FLOPS + LOGIT_GRADIENT_FLOPS)
    outer = B * L * (2 * H * D + grain.choosers * J * DI)
    moved = (outer + B * pairs * (2 * HKV * D + grain.choosers * DI)) * ITEMSIZE + 4 * B * grain.choosers * pairs
    return Formula(3 * scores + products, moved + 4 * _index_gradients(spec, grain))


def kl_loss(spec: IndexerSpec, pairs: Expr, grain: Grain) -> Formula:
    """The indexer's distribution over the chosen keys against the mean attention of the heads that share the choice;
    both taken again.
    """
    scores = grain.choosers * _scores(spec, pairs, grain)
    probabilities = B * pairs * H * (2 * D + PROBABILITY_FLOPS)
    rows, chosen = B * grain.choosers * L, B * grain.choosers * pairs
    flops = scores + probabilities + KL_FLOPS * chosen + rows
    return Formula(flops, _kl_reads(pairs, grain) + 8 * rows, 8 * rows)


def kl_gradient(spec: IndexerSpec, pairs: Expr, grain: Grain) -> Formula:
    """The loss's gradient by the indexer's tensors: scores and probabilities again, then each operation twice."""
    scores = grain.choosers * _scores(spec, pairs, grain)
    probabilities = B * pairs * H * (2 * D + PROBABILITY_FLOPS)
    moved = _kl_reads(pairs, grain) + 4 * _index_gradients(spec, grain)
    return Formula(3 * scores + probabilities + KL_GRADIENT_FLOPS * B * grain.choosers * pairs, moved)


def _index_gradients(spec: IndexerSpec, grain: Grain) -> Expr:
    """The numbers of the gradients of the indexer's tensors."""
    rows = B * grain.choosers * L
    sizes = {"q": rows * J * DI, "k": B * grain.owners * L * DI, "w": rows * J, "b": J}
    return summed([sizes[name] for name in spec.tensors])


def _kl_reads(pairs: Expr, grain: Grain) -> Expr:
    """Queries of both kinds once; of every chosen key its position, its key heads and its index key."""
    queries = B * L * (H * D + grain.choosers * J * DI)
    chosen = B * pairs * (HKV * D + grain.choosers * DI)
    return (queries + chosen) * ITEMSIZE + 4 * B * grain.choosers * pairs
