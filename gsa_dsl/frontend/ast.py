"""The syntax tree as written: one frozen node per construct, a span on every node, nothing resolved yet."""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.diagnostics.span import Source, Span


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that stands somewhere in a spec."""

    span: Span


# --- expressions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number(Node):
    """``64``, ``0.5``, ``1e-6``; ``value`` is an int when written without point and exponent."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An identifier: a parameter, a dimension (``dim``, ``head_dim``), a row statistic's subject."""

    id: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    """A subscripted tensor: ``w[t, j]``, ``k[s]``, ``score[t]``."""

    base: Name
    indices: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Lookup(Node):
    """A table read at computed places: ``bias[h, min(distance, 511)]``; a place may be an index variable alone."""

    base: Name
    places: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Keyword(Node):
    """A named argument of a call: ``decay = 0.99``."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``sigmoid(e)``, ``clamp(e, lo, hi)``, ``var(score[t])``, ``ema(e, decay = 0.99)``, ``linear(x)``."""

    func: Name
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...] = ()


@dataclass(frozen=True, slots=True)
class Reduce(Node):
    """``sum(j) body``: a reduction over one index variable; binds tighter than ``+``, looser than ``*``."""

    op: Name
    index: Name
    body: Expr


@dataclass(frozen=True, slots=True)
class Dot(Node):
    """``q[t, j] . k[s]``: the inner product of two vectors."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``-operand``."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """``left op right`` with op one of ``+ - * / ^ < <= > >= ==``."""

    op: str
    left: Expr
    right: Expr


Expr = Number | Name | Index | Lookup | Call | Reduce | Dot | Unary | Binary


# --- clauses ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Causal(Node):
    """``causal``: position t attends to s <= t."""


@dataclass(frozen=True, slots=True)
class Full(Node):
    """``full``: position t attends to every s."""


@dataclass(frozen=True, slots=True)
class Documents(Node):
    """``documents``: position t attends to positions of its own document only, of those packed into a sequence."""


@dataclass(frozen=True, slots=True)
class Scale(Node):
    """``scale EXPR``: what the logits ``q . k`` are multiplied by; 1 / sqrt(head_dim) unless said."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Logit(Node):
    """``logit[t, s] = EXPR``: what the softmax is taken of, in place of the scaled ``q . k``."""

    head: Index
    body: Expr


@dataclass(frozen=True, slots=True)
class Sink(Node):
    """``sink``: a learned logit a query head, in the softmax's denominator only."""


@dataclass(frozen=True, slots=True)
class Gate(Node):
    """``gate TARGET = EXPR per GRANULARITY``, with or without ``starts identity`` (``starts`` is then that word)."""

    target: Name
    body: Expr
    granularity: Name
    starts: Name | None = None


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """A line of an indexer: ``heads 4``, ``dim 64``, ``keys shared``, ``keys per kv_head`` or ``pool mean``.

    ``value`` is a Name for ``keys`` and ``pool``; ``per``: the word ``per`` stands before it.
    """

    key: Name
    value: Expr
    per: bool = False


@dataclass(frozen=True, slots=True)
class Score(Node):
    """``score[t, s] = EXPR``."""

    head: Index
    body: Expr


@dataclass(frozen=True, slots=True)
class Indexer(Node):
    """``indexer { heads 4  dim 64  keys shared  score[t, s] = ... }``, with or without ``pool mean``."""

    settings: tuple[Setting, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Budget(Node):
    """``budget[t] = EXPR``: how many keys query t may choose, beside the forced ones."""

    head: Index
    body: Expr


@dataclass(frozen=True, slots=True)
class Option(Node):
    """What stands after the unit of a ``select``: ``by max``, ``per kv_head``, ``per queries(128)``."""

    joint: Name
    choice: Name
    size: Expr | None = None

    def place(self) -> int:
        """Where it stands among others when the spec is formatted."""
        order = (("by", self.choice.id), ("per", "kv_head"), ("per", "queries"))
        said = (self.joint.id, self.choice.id)
        return order.index(said) if said in order else len(order)


@dataclass(frozen=True, slots=True)
class Select(Node):
    """``select top COUNT tokens`` or ``select top COUNT blocks(64) by max per kv_head per queries(128)``.

    COUNT is an expression, or the name ``budget``; ``size`` is the 64. The options stand in their formatted order.
    """

    count: Expr
    unit: Name
    size: Expr | None = None
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class AlwaysItem(Node):
    """``first 4``, ``last 64`` or ``diagonal``, which has no count."""

    kind: Name
    count: Expr | None = None


@dataclass(frozen=True, slots=True)
class Always(Node):
    """``always first 4, last 64`` or ``always diagonal``: keys every query attends to, outside the budget."""

    items: tuple[AlwaysItem, ...]


@dataclass(frozen=True, slots=True)
class Train(Node):
    """``train indexer with kl`` or ``train indexer with kl(temperature = 0.5)``."""

    method: Name
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, slots=True)
class Bound(Node):
    """``bound flops <= O(EXPR)`` (asymptotic) or ``bound selected <= EXPR`` (exact)."""

    quantity: Name
    body: Expr
    asymptotic: bool


@dataclass(frozen=True, slots=True)
class Assert(Node):
    """``assert score in (0, J)``; a bracket is closed where ``[`` or ``]`` was written."""

    subject: Name
    low: Expr
    high: Expr
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Require(Node):
    """``require k_min <= k_max``: what the parameters' values must keep to."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Without(Node):
    """``without gate value``, ``without always``: a clause of the extended spec that this one does not take over."""

    clause: Name
    which: Name | None


Clause = (
    Causal
    | Full
    | Documents
    | Scale
    | Logit
    | Sink
    | Gate
    | Indexer
    | Budget
    | Select
    | Always
    | Train
    | Bound
    | Assert
    | Require
    | Without
)


@dataclass(frozen=True, slots=True)
class Param(Node):
    """``k_base = 2048``: a parameter and its default, set at compile time."""

    name: Name
    default: Expr


@dataclass(frozen=True, slots=True)
class Spec(Node):
    """``attention NAME(PARAMS) extends BASE { CLAUSES }``."""

    source: Source
    name: Name
    params: tuple[Param, ...]
    clauses: tuple[Clause, ...]
    extends: Name | None = None
