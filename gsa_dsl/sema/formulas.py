"""What each construct costs, as formulas of the shape: one function a construct, all in one place.

Symbols: L positions, B sequences, H query heads, Hkv kv heads, D the head dimension of queries and keys, Dv that
of values, J indexer heads of dI features;
``itemsize`` bytes an element of q, k, v. ``pairs`` is a number of (query, key) pairs of one sequence.

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


def visible_pairs(*, causal: bool) -> Expr:
    """All (t, s) with s <= t, the sum over t of t + 1; without ``causal`` simply all.

    Packed documents count as one document of the whole length, the most they can cost.
    """
    return L * (L + 1) / 2 if causal else L**2


def capped_pairs(most: Expr, *, causal: bool) -> Expr:
    """The sum over t of what t sees (:func:`visible_pairs`), at most ``most`` keys."""
    m = minimum(most, L)
    return m * L - m * (m - 1) / 2 if causal else m * L


def times(pairs: Expr, heads: Expr = J, width: Expr = D) -> Times:
    """How often something is computed whose scores are taken for ``pairs``; ``heads`` counts h or j, ``width`` d."""

    def count(free: frozenset[str], batched: bool) -> Expr:
        result = B if batched else ONE
        if {"t", "s"} <= free:
            result *= pairs
        elif free & {"t", "s"}:
            result *= L
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


def indexer(spec: IndexerSpec, pairs: Expr) -> Formula:
    """Every score of the ``pairs`` of a query and a key it can see, into a bounded workspace of at least one row."""
    read = {"q": B * L * J * DI, "k": B * (pairs / INDEXER_TILE + L) * DI, "w": B * L * J, "b": J}
    moved = summed([read[name] for name in spec.tensors]) * ITEMSIZE + 4 * B * pairs
    kept = minimum(4 * B * L**2, maximum(WORKSPACE, minimum(4 * WORKSPACE, 4 * CHUNK_ROWS * B * L)))
    return Formula(operations(spec.score, times(pairs)), moved, maximum(4 * L, kept))


def budget(expr: TypedExpr, row_statistics: Sequence[str], slots: int, pairs: Expr) -> Formula:
    """A budget a row: statistics over the row's scores, the expression, and the means its running means take up.

    ``pairs``: of a query and a key it can see.
    """
    rows, scores = B * L, B * pairs
    flops = operations(expr, times(ZERO)) + slots * (rows + EMA_FLOPS)
    for name in row_statistics:
        a_score, a_row = STATISTIC_FLOPS[name]
        flops += a_score * scores + a_row * rows
    walks = 1 + sum(STATISTIC_WALKS.get(name, 0) for name in row_statistics) if row_statistics else 0
    reads = 4 * walks * scores
    kept = 4 * rows * (len(row_statistics) + slots)
    return Formula(flops, reads + 2 * kept, kept)


def select(budget_most: Expr, listed: Expr, pairs: Expr, visible: Expr) -> Formula:
    """The exact top keys of every row, as a list of at most ``listed`` positions a query, ``pairs`` in all.

    ``visible``: pairs of a query and a key it can see.
    """
    scores = B * visible
    flops = (RADIX_PASSES * RADIX_FLOPS + PLACE_FLOPS) * scores
    moved = (RADIX_PASSES + 1) * 4 * scores + 4 * B * pairs
    memory = 4 * B * L * (minimum(listed, L) + 1)
    return Formula(flops, moved, memory, minimum(budget_most, L))


def always(forced: Expr) -> Formula:
    """Forced keys: their attention is counted with the rest."""
    return Formula(selected=minimum(forced, L))


def attention(pairs: Expr, *, listed: bool, dense: bool) -> Formula:
    """``q . k`` and ``p v`` for every pair and head; keeps one normaliser a row for the backward pass."""
    outer = B * L * H * (D + DV) * ITEMSIZE + 4 * B * L * H
    reads = pairs if listed else pairs / ATTENTION_TILE + L
    keys = B * reads * HKV * (D + DV) * ITEMSIZE + (4 * B * pairs if listed else ZERO)
    return Formula(2 * B * pairs * H * (D + DV), outer + keys, 4 * B * L * H, L if dense else ZERO)


def softmax(pairs: Expr) -> Formula:
    """The weights of every pair and head, and a row's division by their sum and its logarithm."""
    return Formula(B * H * (SOFTMAX_FLOPS * pairs + L * (DV + 2)))


def logit(spec: LogitSpec, indexer: IndexerSpec | None, pairs: Expr, *, listed: bool) -> Formula:
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
        flops += HKV * operations(indexer.score, times(pairs))
        moved += HKV * (B * L * J * DI + B * reads * DI) * ITEMSIZE
    return Formula(flops, moved, memory)


def sink() -> Formula:
    """One more exponential in the sum of every row."""
    return Formula(SINK_FLOPS * B * H * L, 4 * H)


def logit_gradient(spec: IndexerSpec, pairs: Expr) -> Formula:
    """The indexer's gradient through the logits: these taken again, then each operation of a score twice."""
    scores = operations(spec.score, times(pairs))
    products = B * pairs * H * (4 * D + PROBABILITY_FLOPS + LOGIT_GRADIENT_FLOPS)
    outer = B * L * (2 * H * D + J * DI)
    moved = (outer + B * pairs * (2 * HKV * D + DI)) * ITEMSIZE + 4 * B * pairs
    return Formula(3 * scores + products, moved + 4 * _index_gradients(spec))


def kl_loss(spec: IndexerSpec, pairs: Expr) -> Formula:
    """The indexer's distribution over the chosen keys against the attention's mean over heads; both taken again."""
    scores = operations(spec.score, times(pairs))
    probabilities = B * pairs * H * (2 * D + PROBABILITY_FLOPS)
    flops = scores + probabilities + KL_FLOPS * B * pairs + B * L
    return Formula(flops, _kl_reads(pairs) + 8 * B * L, 8 * B * L)


def kl_gradient(spec: IndexerSpec, pairs: Expr) -> Formula:
    """The loss's gradient by the indexer's tensors: scores and probabilities again, then each operation twice."""
    scores = operations(spec.score, times(pairs))
    probabilities = B * pairs * H * (2 * D + PROBABILITY_FLOPS)
    moved = _kl_reads(pairs) + 4 * _index_gradients(spec)
    return Formula(3 * scores + probabilities + KL_GRADIENT_FLOPS * B * pairs, moved)


def _index_gradients(spec: IndexerSpec) -> Expr:
    """The numbers of the gradients of the indexer's tensors."""
    sizes = {"q": B * L * J * DI, "k": B * L * DI, "w": B * L * J, "b": J}
    return summed([sizes[name] for name in spec.tensors])


def _kl_reads(pairs: Expr) -> Expr:
    """Queries of both kinds once; of every chosen key its position, its key heads and its index key."""
    queries = B * L * (H * D + J * DI)
    return (queries + B * pairs * (HKV * D + DI)) * ITEMSIZE + 4 * B * pairs
