"""The plan of one compiled attention: what the templates read, no more. Numbers are bound, maths is scalar IR."""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.ir.nodes import Const, Scalar, inputs
from gsa_dsl.options import KernelConfig


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the spec, or in one that it extends, a part of the generated code comes from."""

    line: int
    text: str
    file: str


@dataclass(frozen=True, slots=True)
class HeadShape:
    """The head counts and the widths of a head that a kernel is specialised for.

    ``value_dim``, the width of values and output, is ``head_dim``, that of queries and keys, unless given.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int = 0

    def __post_init__(self) -> None:
        if not self.value_dim:
            object.__setattr__(self, "value_dim", self.head_dim)

    @property
    def group(self) -> int:
        """Query heads per kv head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, slots=True)
class GateInput:
    """A tensor a gate reads: its name at the call, and how finely it is given (element, head or shared)."""

    name: str
    granularity: str


@dataclass(frozen=True, slots=True)
class GatePlan:
    """All gates of one target as a single factor of the inputs ``z0, z1, ...``, with its partial derivatives."""

    target: str
    inputs: tuple[GateInput, ...]
    factor: Scalar
    partials: tuple[Scalar, ...]
    origin: Origin

    @property
    def over_queries(self) -> bool:
        """Whether its target has the query heads; else it has the kv heads."""
        return self.target in ("query", "output")


@dataclass(frozen=True, slots=True)
class Reduction:
    """``op`` over the index heads of ``term(dot, w, b)``; ``partials`` by each tensor the term reads."""

    op: str
    term: Scalar
    partials: tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """``score = outer(acc0, acc1, ...)`` with one accumulator a reduction; ``outer_partials`` by accumulator."""

    heads: int
    dim: int
    reductions: tuple[Reduction, ...]
    outer: Scalar
    outer_partials: tuple[Scalar, ...]
    tensors: tuple[str, ...]
    origin: Origin

    @property
    def linear(self) -> bool:
        """Whether the slopes by the accumulators are numbers, which no score makes infinite or NaN."""
        return all(isinstance(partial, Const) for partial in self.outer_partials)


@dataclass(frozen=True, slots=True)
class Level:
    """A row statistic with a constant: ``op`` (top_p or above) at ``value``, which the budget reads as ``name``."""

    name: str
    op: str
    value: float


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """k_t before rounding, of ``row_var`` ... and ``ema0`` ...; ``most`` caps it, the state follows ``emas``.

    ``statistics`` includes those that others are computed from.
    """

    expr: Scalar
    statistics: tuple[str, ...]
    levels: tuple[Level, ...]
    emas: tuple[Scalar, ...]
    ema_decay: tuple[float, ...]
    ema_init: tuple[float, ...]
    most: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Grain:
    """How fine a choice is (:class:`gsa_dsl.sema.typed.SelectionSpec`), and whose keys it is made by.

    Everything that selects works on columns of ``block`` positions, for rows of ``queries`` neighbouring queries, and
    with ``per_kv_head`` for every kv head apart. A column's score is that of its pooled key (``pool``), or made of its
    tokens' (``reduce``).
    """

    block: int = 1
    reduce: str | None = None
    pool: str | None = None
    per_kv_head: bool = False
    queries: int = 1
    keys: str = "shared"
    origin: Origin | None = None

    @property
    def own_keys(self) -> bool:
        """Whether the attention's own queries and keys are compared, and no tensors of an indexer."""
        return self.keys == "attention"


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A learned table of ``size`` numbers a query head, read at ``place``, rounded down, of the input ``distance``."""

    place: Scalar
    size: int


@dataclass(frozen=True, slots=True)
class LogitPlan:
    """What the softmax is taken of, over the inputs ``reads``: dot, distance, slope, bias and score.

    ``base2`` is ``value`` times log2(e), for a softmax in base 2. ``partials`` are those of ``value`` by dot, bias and
    score where it reads them; a constant one by dot is no entry: it is the plan's scale.
    """

    value: Scalar
    base2: Scalar
    reads: tuple[str, ...]
    partials: tuple[tuple[str, Scalar], ...]
    linear: bool
    bias: TablePlan | None
    origin: Origin

    @property
    def gradient_reads(self) -> tuple[str, ...]:
        """What the partials read, in the order of ``reads``."""
        found = {name for _, partial in self.partials for name in inputs(partial)}
        return tuple(name for name in self.reads if name in found)


@dataclass(frozen=True, slots=True)
class Plan:
    """One attention, ready to be printed. ``score`` and ``budget`` are both set or both None.

    A query sees the positions of its span: ``causal`` ends it at the query, ``documents`` narrows it to a document.
    ``scale`` is the derivative of a logit by ``q . k`` where that is one number; without a ``logit``, a logit is
    ``scale * q . k``. ``sink_origin`` is set where the softmax has a sink.
    """

    name: str
    spec_name: str
    shape: HeadShape
    causal: bool
    documents: bool
    scale: float
    logit: LogitPlan | None
    sink_origin: Origin | None
    query_gate: GatePlan | None
    key_gate: GatePlan | None
    value_gate: GatePlan | None
    output_gate: GatePlan | None
    score: ScorePlan | None
    budget: BudgetPlan | None
    grain: Grain
    first: int
    last: int
    temperature: float | None
    train_origin: Origin | None
    origin: Origin
    forced_origin: Origin | None
    documents_origin: Origin | None
    config: KernelConfig
    config_origin: str | None = None

    @property
    def input_gates(self) -> tuple[GatePlan, ...]:
        """The gates that act before the attention."""
        return tuple(gate for gate in (self.query_gate, self.key_gate, self.value_gate) if gate is not None)

    @property
    def gates(self) -> tuple[GatePlan, ...]:
        """All gates, in the order in which they act."""
        return self.input_gates if self.output_gate is None else (*self.input_gates, self.output_gate)

    @property
    def shares_factors(self) -> bool:
        """Whether a gate has one factor for all heads."""
        return any(gate_input.granularity == "shared" for gate in self.gates for gate_input in gate.inputs)

    @property
    def listed(self) -> bool:
        """Whether queries attend to chosen keys (lists) rather than to a range of positions."""
        return self.score is not None

    @property
    def chosen(self) -> Grain | None:
        """How fine the choice is; None where nothing is chosen."""
        return self.grain if self.listed else None

    @property
    def has_bias(self) -> bool:
        """Whether logits read a learned table."""
        return self.logit is not None and self.logit.bias is not None

    @property
    def trains(self) -> bool:
        """Whether a gradient reaches the indexer, by its loss or through the logits."""
        return self.temperature is not None or self.soft

    @property
    def soft(self) -> bool:
        """Whether the logits read the indexer's score, and pass a gradient to it."""
        return self.logit is not None and "score" in self.logit.reads
