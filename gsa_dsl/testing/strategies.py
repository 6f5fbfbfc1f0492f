"""Hypothesis strategies: random specs of the language, as text, and random shapes. Needs the ``hypothesis`` package.

``specs()`` composes what the language offers: what a query sees, scales and free logits, sinks, gates of every kind,
score expressions, blocks and pooled keys, choices of kv heads and runs of queries, constant and adaptive budgets,
forced keys, the indexer's loss. Every text it yields passes the checker; budgets are small, so that short inputs exceed
them.
``shapes()`` yields sizes around the edges: one position, one more than a power of two, groups of heads.

    @given(variant=specs(), shape=shapes())
    def test_something(variant: str, shape: Shape) -> None: ...
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from gsa_dsl.gate_shapes import GRANULARITIES, TARGETS

_GATES = (
    "sigmoid(linear(x))",
    "2 * sigmoid(linear(x))",
    "sigmoid(linear(x) + 0.5)",
    "tanh(linear(x))",
    "silu(linear(x))",
    "relu(linear(x) + 1)",
    "1 + 0.5 * softplus(linear(x))",
    "clamp(linear(x), -1, 1)",
    "where(linear(x) > 0, linear(x), 0.1 * linear(x))",
    "sigmoid(linear(x, features = 4) + given(mask{n}))",
    "given(mask{n}) * tanh(given(mask{n}_late))",
)
_REACH_ONE = frozenset({"2 * sigmoid(linear(x))", "silu(linear(x))", "relu(linear(x) + 1)", "clamp(linear(x), -1, 1)"})

_DOT = "q[t, j] . k[s]"
_PAIR_SCORES = (
    f"sigmoid({_DOT} / sqrt(dim))",
    f"sigmoid({_DOT} / sqrt(dim) + b[j])",
    f"relu({_DOT})",
    f"tanh({_DOT} / dim)",
    f"clamp({_DOT}, -3, 3)",
    f"silu(b[j] + {_DOT})",
    "k[s] . q[t, j]",
)
_WEIGHTS = ("", "w[t, j] * ", "sigmoid(w[t, j]) * ", "abs(w[t, j]) * ")
_REDUCTIONS = ("sum", "mean", "max")
_BUDGETS = (
    "clamp({k} * ema(var(score[t])) / var(score[t]), {low}, {high})",
    "clamp({k} * var(score[t]) / ema(var(score[t])), {low}, {high})",
    "clamp(0.25 * count(score[t]), {low}, {high})",
    "clamp(1 + {k} * abs(max(score[t]) - mean(score[t])), {low}, {high})",
    "clamp({k} + min(score[t]), {low}, {high})",
    "clamp({k} * entropy(score[t]), {low}, {high})",
    "clamp(top_p(score[t], 0.4), {low}, {high})",
    "clamp(above(score[t], 0.25) + 0.5, {low}, {high})",
)
_SCALES = ("0.5", "1 / head_dim", "2 / sqrt(head_dim)")
_PRODUCT = "q[t] . k[s] / sqrt(head_dim)"
_LOGITS = (
    _PRODUCT,
    f"5 * tanh({_PRODUCT} / 5)",
    f"{_PRODUCT} - slope[h] * distance",
    f"{_PRODUCT} + bias[h, min(abs(distance), 7)]",
    f"3 * tanh({_PRODUCT} + bias[h, clamp(2 * sqrt(abs(distance)), 1, 9)]) - 0.1 * log(1 + abs(distance))",
)
_SOFT = ("log(softplus(score[t, s]))", "0.5 * tanh(score[t, s])", "score[t, s] / heads")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one call; ``heads`` is a multiple of ``kv_heads``."""

    batch: int
    length: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int


@st.composite
def shapes(draw: DrawFn, *, longest: int = 70) -> Shape:
    """A :class:`Shape` with at most ``longest`` positions; simpler ones are shorter, with fewer heads."""
    edges = [length for length in (1, 2, 15, 16, 17, 33, 64, 65) if length <= longest]
    length = draw(st.one_of(st.sampled_from(edges), st.integers(1, longest)))
    kv_heads, group = draw(st.sampled_from(((1, 1), (2, 1), (1, 4), (2, 2), (1, 3))))
    head_dim = draw(st.sampled_from((16, 8, 24, 32)))
    value_dim = draw(st.sampled_from((head_dim, head_dim, 16, 40)))
    return Shape(draw(st.integers(1, 2)), length, kv_heads * group, kv_heads, head_dim, value_dim)


@st.composite
def gates(draw: DrawFn) -> str:
    """No, one or several gate clauses."""
    clauses = []
    for n, target in enumerate(draw(st.lists(st.sampled_from(TARGETS), max_size=3))):
        body = draw(st.sampled_from(_GATES)).format(n=n)
        starts = "  starts identity" if draw(st.booleans()) and body in _REACH_ONE else ""
        clauses.append(f"  gate {target} = {body}  per {draw(st.sampled_from(GRANULARITIES))}{starts}")
    return "\n".join(clauses)


@dataclass(frozen=True, slots=True)
class Grain:
    """How fine a choice is: ``unit`` with its options as written, and whose ``keys`` the indexer scores, as they are
    or pooled. ``block`` is 1 for tokens.
    """

    unit: str
    block: int
    keys: str
    pool: str

    @property
    def own(self) -> bool:
        """Whether the indexer scores with the attention's own keys, so that it has no w and b and is not trained."""
        return self.keys == "attention"


@st.composite
def grains(draw: DrawFn, *, documents: bool) -> Grain:
    """A :class:`Grain`; simpler ones are of single tokens, for all heads and each query."""
    block = draw(st.sampled_from((1, 1, 2, 4, 8, 16)))
    per_kv_head = draw(st.booleans())
    run = 1 if documents else draw(st.sampled_from((1, 1, 1, 2, 4, 8)))
    keys = draw(st.sampled_from(("shared", "shared", "per kv_head", "attention"))) if per_kv_head else "shared"
    pool = draw(st.sampled_from(("", "", "mean", "max"))) if block > 1 and not documents else ""
    words = [f"blocks({block})" if block > 1 else "tokens"]
    words += [f"by {draw(st.sampled_from(('max', 'mean', 'sum')))}"] if block > 1 and not pool else []
    words += ["per kv_head"] if per_kv_head else []
    words += [f"per queries({run})"] if run > 1 else []
    return Grain(" ".join(words), block, keys, pool)


@st.composite
def scores(draw: DrawFn, *, own: bool = False) -> str:
    """A score expression over the indexer's heads; ``own``: it has no w and b."""
    pairs = [score for score in _PAIR_SCORES if not (own and "b[j]" in score)]
    body = draw(st.sampled_from(("",) if own else _WEIGHTS)) + draw(st.sampled_from(pairs))
    reduction = draw(st.sampled_from(_REDUCTIONS))
    outer = draw(st.sampled_from(("{}", "{}", "tanh({})", "0.5 * ({}) - 1")))
    return outer.format(f"{reduction}(j) {body}")


@st.composite
def indexers(draw: DrawFn, grain: Grain) -> str:
    """An ``indexer`` clause with the keys of ``grain``."""
    heads, dim = draw(st.sampled_from(((1, 16), (2, 16), (4, 32), (3, 16))))
    sizes = "" if grain.own else f"heads {heads}  dim {dim}  "
    pool = f"  pool {grain.pool}" if grain.pool else ""
    score = draw(scores(own=grain.own))
    return f"  indexer {{ {sizes}keys {grain.keys}{pool}\n    score[t, s] = {score}\n  }}"


@st.composite
def logits(draw: DrawFn, *, scored: bool) -> str:
    """No clause, a scale or a logit (reading the score where ``scored``), and perhaps a sink."""
    clauses = []
    kind = draw(st.sampled_from(("plain", "scale", "logit")))
    if kind == "scale":
        clauses.append(f"  scale {draw(st.sampled_from(_SCALES))}")
    if kind == "logit":
        soft = f" + {draw(st.sampled_from(_SOFT))}" if scored and draw(st.booleans()) else ""
        clauses.append(f"  logit[t, s] = {draw(st.sampled_from(_LOGITS))}{soft}")
    if draw(st.booleans()):
        clauses.append("  sink")
    return "\n".join(clauses)


@st.composite
def selections(draw: DrawFn, unit: str = "tokens") -> str:
    """A budget, constant or adaptive, and the clause that selects by it."""
    most = draw(st.integers(1, 12))
    if draw(st.booleans()):
        return f"  select top {most} {unit}"
    low = draw(st.integers(0, most))
    budget = draw(st.sampled_from(_BUDGETS)).format(k=draw(st.integers(1, 12)), low=low, high=most)
    return f"  budget[t] = {budget}\n  select top budget {unit}"


@st.composite
def forced_keys(draw: DrawFn, *, blocks: bool = False) -> str:
    """An ``always`` clause; of ``blocks`` it holds the query's own."""
    first, last = draw(st.integers(0, 4)), draw(st.integers(0, 8))
    items = [f"first {first}"] if first else []
    if blocks:
        items.append(draw(st.sampled_from(("diagonal", "last 1", "last 2"))))
    elif last or not first:
        items.append(f"last {max(last, 1)}")
    return f"  always {', '.join(items)}"


@st.composite
def specs(draw: DrawFn) -> str:
    """The text of a spec: dense, windowed, or selecting by an indexer; with any gates."""
    kind = draw(st.sampled_from(("indexer", "indexer", "indexer", "window", "dense")))
    sees = draw(st.sampled_from(("causal", "causal", "full", "causal  documents", "full  documents")))
    grain = draw(grains(documents="documents" in sees)) if kind == "indexer" else Grain("tokens", 1, "shared", "")
    # Under causal the own block of pooled keys has no score: it has to be forced, and no logit may read it.
    unscored = bool(grain.pool) and "causal" in sees
    scored = kind == "indexer" and not grain.own and not unscored
    clauses = [f"  {sees}", draw(logits(scored=scored)), draw(gates())]
    if kind == "indexer":
        clauses += [draw(indexers(grain)), draw(selections(grain.unit))]
    if kind == "window" or unscored or (kind == "indexer" and draw(st.booleans())):
        clauses.append(draw(forced_keys(blocks=grain.block > 1)))
    if kind == "indexer" and not grain.own and draw(st.booleans()):
        temperature = draw(st.sampled_from(("", "(temperature = 0.5)", "(temperature = 2)")))
        clauses.append(f"  train indexer with kl{temperature}")
    return "attention variant {\n" + "\n".join(clause for clause in clauses if clause) + "\n}\n"


def variants(*, longest: int = 70) -> SearchStrategy[tuple[str, Shape]]:
    """A spec's text with a shape to run it at."""
    return st.tuples(specs(), shapes(longest=longest))
