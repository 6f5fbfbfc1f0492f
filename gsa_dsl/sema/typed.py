"""The typed tree: what the checker hands on. Names are resolved, parameters are numbers, every node knows its range.

Everything downstream (cost, lowering, the reference) reads these nodes and nothing earlier. All scalars; vectors occur
only as the two sides of a :class:`Dot`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast
from gsa_dsl.sema.interval import Interval


@dataclass(frozen=True, slots=True)
class Typed:
    """``free`` holds the index variables the value varies with; ``range`` encloses every value it can take."""

    span: Span
    free: frozenset[str]
    range: Interval


@dataclass(frozen=True, slots=True)
class Const(Typed):
    """A literal, a parameter's value or an indexer dimension; ``name`` is what the spec called it, if anything."""

    value: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Dimension(Typed):
    """A number known only when heads and head_dim are: ``name`` is head_dim, heads, kv_heads or group, the query heads
    of a kv head.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Leaf(Typed):
    """A scalar that is read: the indexer's ``w[t, j]`` or ``b[j]``, a gate's ``linear(x)`` (name ``z``) or
    ``given(NAME)`` (name ``given(NAME)``). ``features``: how many of x a ``linear`` reads, if not all.

    In a logit: ``dot`` (the attention's own ``q[t] . k[s]``), ``distance``, ``slope``, ``score``, and ``bias``, which
    :class:`Table` says the place of.
    """

    name: str
    features: int | None = None


@dataclass(frozen=True, slots=True)
class Dot(Typed):
    """``q[t, j] . k[s]``: the only use of the indexer's vectors."""

    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Apply(Typed):
    """A scalar operation of :mod:`gsa_dsl.ops` on ``args``."""

    op: str
    args: tuple[TypedExpr, ...]


@dataclass(frozen=True, slots=True)
class Reduce(Typed):
    """``sum``, ``mean`` or ``max`` of ``body`` over the indexer's heads (index ``j``)."""

    op: str
    body: TypedExpr


@dataclass(frozen=True, slots=True)
class Statistic(Typed):
    """A number about the finite scores of a row, over the keys its query sees; 0 for a row without any.

    ``op``: ``var`` (population form), ``mean``, ``max``, ``min``, ``count``; ``entropy``, in nats, of their softmax;
    ``top_p``: how many of the highest hold ``level`` of that softmax, 0 < level < 1; ``above``: how many > ``level``.
    """

    op: str
    level: float | None = None


@dataclass(frozen=True, slots=True)
class Ema(Typed):
    """The running mean of ``body`` from before this step; ``slot`` numbers it in the state vector."""

    body: TypedExpr
    slot: int
    decay: float
    init: float


LINEAR = "z"
"""The leaf that ``linear(x)`` is."""

TypedExpr = Const | Dimension | Leaf | Dot | Apply | Reduce | Statistic | Ema


PLACE_SLACK = 2.0**-20
"""A place this little below a whole number counts as it: rounding must not decide which of two numbers is read."""


@dataclass(frozen=True, slots=True)
class Table:
    """``bias[h, PLACE]``: a learned table of ``size`` numbers a query head, read at ``floor(place + PLACE_SLACK)``.

    ``place`` is over ``distance`` alone; its range is bounded and >= 0.
    """

    span: Span
    place: TypedExpr
    size: int


@dataclass(frozen=True, slots=True)
class LogitSpec:
    """``logit[t, s]``: what the softmax is taken of; ``bias`` is the table that ``body`` reads, if it reads one."""

    span: Span
    body: TypedExpr
    bias: Table | None

    @property
    def reads(self) -> tuple[str, ...]:
        """What the body reads, each once, in the order of the text."""
        return tuple(dict.fromkeys(node.name for node in walk(self.body) if isinstance(node, Leaf)))


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """``sink``: a learned logit a query head in the softmax's denominator, with no value of its own."""

    span: Span


@dataclass(frozen=True, slots=True)
class GateTensor:
    """A tensor that a gate reads: the leaf of its expression, and the key it is passed under at the call."""

    leaf: str
    name: str


@dataclass(frozen=True, slots=True)
class GateSpec:
    """A gate: ``target`` is multiplied by ``body``, whose leaves vary per ``granularity`` (:mod:`gsa_dsl.gate_shapes`).

    ``name``: the target, or ``output_2`` for a second gate on it; the key of its ``linear(x)``. ``features`` of x enter
    that projection, all if None. ``identity``: the bias at which the gate is 1, if the spec says ``starts identity``.
    """

    span: Span
    name: str
    target: str
    granularity: str
    body: TypedExpr
    tensors: tuple[GateTensor, ...]
    features: int | None = None
    identity: float | None = None

    @property
    def projects(self) -> bool:
        """Whether it reads ``linear(x)``."""
        return any(tensor.leaf == LINEAR for tensor in self.tensors)

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the tensors it is given."""
        return tuple(tensor.name for tensor in self.tensors if tensor.leaf != LINEAR)


@dataclass(frozen=True, slots=True)
class IndexerSpec:
    """``score`` over leaves w, b and the dot of q and k; ``tensors`` names those used, in order q, k, w, b.

    ``keys``: ``shared`` by all kv heads, ``kv_head`` (each has its own), or ``attention``: q and k are the attention's
    own query and key as passed, j runs over the query heads of a kv head, and ``heads`` and ``dim``, which only a head
    shape knows, are 0. ``pool``, ``mean`` or ``max``: the keys of a block are pooled into one, and ``score[t, s]`` is
    the score of the block that s lies in.
    """

    span: Span
    heads: int
    dim: int
    score: TypedExpr
    tensors: tuple[str, ...]
    keys: str = "shared"
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class SelectionSpec:
    """Top ``budget`` units by score; ``budget.range`` is finite and >= 0. ``adaptive``: it reads row statistics.

    A unit is a run of ``block`` positions that starts at a multiple of it (a token where ``block`` is 1). Its score is
    that of its pooled key, or the token scores of the keys the query sees in it, reduced by ``reduce`` (``max``,
    ``mean`` or ``sum``; None for tokens and pooled keys). ``per_kv_head``: every kv head chooses its own, else all
    heads share. ``queries``: a run of so many queries, starting at a multiple of it, shares its first one's choice.
    """

    span: Span
    budget: TypedExpr
    adaptive: bool
    block: int = 1
    reduce: str | None = None
    per_kv_head: bool = False
    queries: int = 1

    @property
    def most(self) -> int:
        """The largest budget any row can have, in units."""
        return int(self.budget.range.high)


@dataclass(frozen=True, slots=True)
class Forced:
    """Keys of every query outside the budget, of those it sees: the ``first``, and |t - s| < ``last``; 0 means none.

    Where blocks are selected both count blocks: the first of the sequence (or document), and those fewer than ``last``
    away from the query's own.
    """

    first: int
    last: int
    span: Span | None

    def most(self, *, causal: bool) -> int:
        """The most units one query gets; without ``causal`` those nearer than ``last`` lie on both sides."""
        return self.first + (self.last if causal else max(2 * self.last - 1, 0))


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """``kl``: fit softmax(score / temperature) on the selected keys to the detached, head-averaged attention."""

    span: Span
    method: str
    temperature: float


@dataclass(frozen=True, slots=True)
class CheckedSpec:
    """A spec without mistakes, its parameters bound.

    Three forms: no ``selection`` and no ``forced`` keys is dense; forced keys alone is a sliding window with sinks;
    a ``selection`` needs an ``indexer``. ``tree`` is kept for promises (``bound``) and for display.

    Query t sees the positions of one span: from the first of its document (of the sequence without ``documents``) to t
    itself if ``causal``, else to the last of its document. Forced keys, statistics and candidates are all within it.
    """

    source: Source
    tree: ast.Spec
    name: str
    params: tuple[tuple[str, int | float], ...]
    causal: bool
    documents: bool
    scale: TypedExpr | None
    logit: LogitSpec | None
    sink: SinkSpec | None
    gates: tuple[GateSpec, ...]
    indexer: IndexerSpec | None
    selection: SelectionSpec | None
    forced: Forced
    train: TrainSpec | None
    emas: tuple[Ema, ...]

    @property
    def soft(self) -> bool:
        """Whether the logits read the indexer's score, so that the indexer learns through them."""
        return self.logit is not None and "score" in self.logit.reads

    def extras(self, heads: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the learned tensors beside query, key and value, for ``heads`` query heads."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.sink is not None:
            shapes["sink"] = (heads,)
        if self.logit is not None and self.logit.bias is not None:
            shapes["bias"] = (heads, self.logit.bias.size)
        return shapes


def children(expr: TypedExpr) -> tuple[TypedExpr, ...]:
    """The expressions ``expr`` is made of, in order."""
    match expr:
        case Apply(args=args):
            return args
        case Reduce(body=body) | Ema(body=body):
            return (body,)
    return ()


def walk(expr: TypedExpr) -> Iterator[TypedExpr]:
    """``expr`` and everything in it, in the order of the text."""
    yield expr
    for child in children(expr):
        yield from walk(child)


def key(expr: TypedExpr) -> tuple[object, ...]:
    """What ``expr`` says, wherever it stands: equal for two expressions that are the same calculation."""
    own = (getattr(expr, f.name) for f in fields(expr) if f.name not in ("span", "args", "body", "slot"))
    return (type(expr), *own, *(key(child) for child in children(expr)))


def same(a: TypedExpr, b: TypedExpr) -> bool:
    """Whether two expressions are the same calculation."""
    return key(a) == key(b)
