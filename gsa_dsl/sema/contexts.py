"""What each kind of expression may see: one frozen description for scores, gates, budgets, logits and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gsa_dsl.sema.interval import INF, REALS, Interval

Number = int | float

# t - s of a query and a key s <= t, and ALiBi's slopes (arXiv 2108.12409), the least of which is 2^-8.
DISTANCES = Interval(0.0, INF)
SLOPES = Interval(2.0**-8, 1.0, True, False)
ONE = Interval.point(1.0)
SIZES = Interval(1.0, INF)  # of a head, and how many there are

# How the indexer's tensors are indexed; q and k are vectors of the indexer's dimension.
SCALARS: dict[str, tuple[str, ...]] = {"w": ("t", "j"), "b": ("j",)}
VECTORS: dict[str, tuple[str, ...]] = {"q": ("t", "j"), "k": ("s",)}
TENSORS = {**VECTORS, **SCALARS}
# The attention's own query and key; their head is implied, as in gates.
PAIR: dict[str, tuple[str, ...]] = {"q": ("t",), "k": ("s",)}


@dataclass(frozen=True, slots=True)
class Readable:
    """A scalar that an expression may read: written with ``indices``, varying with ``free``, in ``range``."""

    indices: tuple[str, ...]
    free: frozenset[str]
    range: Interval


@dataclass(frozen=True, slots=True)
class Context:
    """One kind of expression.

    ``noun`` names its value in a message ("the budget"), ``sees`` is the sentence that answers why something is not
    visible, ``offers`` what to use instead. ``constants`` are names with a value, ``dimensions`` names whose value
    comes with the heads, and ``aliases`` what some of them are called by later stages. ``tensors``: which of the
    indexer's w, b, q, k may be read, and their indices; ``heads``: how many j. ``linear``: the index variables of
    ``linear(x)`` and ``given(NAME)`` if they may be read. ``score``: the range of the scores whose row statistics may
    be read. ``vectors``: the two sides of its dot product and their indices. ``readable``: other scalars by name.
    ``place``: the range of ``distance`` where the learned table ``bias[h, ...]`` may be read at it.
    """

    noun: str
    sees: str
    offers: str
    constants: Mapping[str, Number]
    dimensions: Mapping[str, Interval] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    heads: Interval = ONE
    linear: frozenset[str] | None = None
    score: Interval | None = None
    vectors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    readable: Mapping[str, Readable] = field(default_factory=dict)
    place: Interval | None = None


def score_context(params: Mapping[str, Number], heads: int, dim: int) -> Context:
    """Expressions of ``score[t, s]``."""
    return Context(
        noun="the score",
        sees="a score sees the indexer's q[t, j], k[s], w[t, j] and b[j], its 'dim' and 'heads', and parameters",
        offers="'q[t, j] . k[s]', 'w[t, j]' or 'b[j]'",
        constants={**params, "dim": dim, "heads": heads, "J": heads},
        tensors=TENSORS,
        heads=Interval.point(float(heads)),
        vectors=VECTORS,
    )


def own_keys_context(params: Mapping[str, Number]) -> Context:
    """Expressions of ``score[t, s]`` over the attention's own query and key."""
    return Context(
        noun="the score",
        sees="with 'keys attention' a score sees the attention's own q[t, j] and k[s], 'dim' (of a head), 'heads' (of "
        "a kv head), and parameters",
        offers="'q[t, j] . k[s]'",
        constants=params,
        dimensions=dict.fromkeys(("dim", "heads", "J"), SIZES),
        aliases={"dim": "head_dim", "heads": "group", "J": "group"},
        tensors=VECTORS,
        heads=SIZES,
        vectors=VECTORS,
    )


def logit_context(params: Mapping[str, Number], score: Interval | None, *, causal: bool = True) -> Context:
    """Expressions of ``logit[t, s]``; ``score`` is the range of the indexer's score, None without an indexer."""
    pair = frozenset("ts")
    distance = DISTANCES if causal else REALS
    readable = {
        "distance": Readable((), pair, distance),
        "slope": Readable(("h",), frozenset("h"), SLOPES),
    }
    if score is not None:
        readable["score"] = Readable(("t", "s"), pair, score)
    return Context(
        noun="the logit",
        sees="a logit sees 'q[t] . k[s]', 'distance', 'slope[h]', 'bias[h, ...]', 'score[t, s]', 'head_dim', 'heads', "
        "'kv_heads' and parameters",
        offers="'q[t] . k[s]'",
        constants=params,
        dimensions=dict.fromkeys(("head_dim", "heads", "kv_heads"), SIZES),
        vectors=PAIR,
        readable=readable,
        place=distance,
    )


def place_context(params: Mapping[str, Number], distance: Interval) -> Context:
    """Where in the learned table a logit reads: ``EXPR`` of ``bias[h, EXPR]``."""
    return Context(
        noun="the place in a table",
        sees="a table is read at a function of 'distance' and parameters, the same for every sequence and feature",
        offers="'distance'",
        constants=params,
        readable={"distance": Readable((), frozenset("ts"), distance)},
    )


def gate_context(params: Mapping[str, Number], granularity: str) -> Context:
    """Expressions of a gate; per head its input has no feature, shared no head either."""
    return Context(
        noun="the gate",
        sees="a gate sees one position, head and feature: linear(x), given tensors and parameters, "
        "never a key or a score",
        offers="'linear(x)'",
        constants=params,
        linear=frozenset({"shared": "t", "head": "th"}.get(granularity, "thd")),
    )


def budget_context(params: Mapping[str, Number], score: Interval = REALS) -> Context:
    """Expressions of ``budget[t]``, over scores in ``score``."""
    return Context(
        noun="the budget",
        sees="a budget sees its own row: statistics of score[t] (var, mean, max, min, count, entropy, top_p and above) "
        "over the keys query t sees, ema, and parameters",
        offers="a statistic of the row, such as 'var(score[t])'",
        constants=params,
        score=score,
    )


def scale_context(params: Mapping[str, Number]) -> Context:
    """Expressions of ``scale``."""
    return Context(
        noun="the scale",
        sees="a scale is one number for all positions: it sees 'head_dim' and parameters",
        offers="'head_dim'",
        constants=params,
        dimensions={"head_dim": SIZES},
    )


def size_context(params: Mapping[str, Number], noun: str) -> Context:
    """Expressions that must be constant: sizes, counts, defaults and keyword arguments."""
    return Context(
        noun=noun,
        sees=f"{noun} is a constant: it sees numbers and parameters",
        offers="a number or a parameter",
        constants=params,
    )


def promise_context(params: Mapping[str, Number], indexer: Mapping[str, int]) -> Context:
    """The ends of an asserted interval; ``indexer`` holds what is known of J and dI."""
    known = ", ".join([f"'{name}'" for name in indexer] or ["no size of an indexer"])
    return Context(
        noun="the interval",
        sees=f"an asserted interval sees parameters, {known} and 'inf'",
        offers="a number or a parameter",
        constants={**params, **indexer, "inf": INF},
    )
