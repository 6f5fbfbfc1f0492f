"""The plan of one compiled attention: what the templates read, no more. Numbers are bound, maths is scalar IR."""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.ir.nodes import Scalar
from gsa_dsl.options import KernelConfig


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the spec a part of the generated code comes from."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class HeadShape:
    """The head counts and the head dimension a kernel is specialised for."""

    heads: int
    kv_heads: int
    head_dim: int

    @property
    def group(self) -> int:
        """Query heads per kv head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, slots=True)
class GateInput:
    """One ``linear(x)``: the tensor's name at the call, and how finely it is given (element or head)."""

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


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """k_t before rounding, of ``row_var`` ... and ``ema0`` ...; ``most`` caps it, the state follows ``emas``."""

    expr: Scalar
    statistics: tuple[str, ...]
    emas: tuple[Scalar, ...]
    ema_decay: tuple[float, ...]
    ema_init: tuple[float, ...]
    most: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Plan:
    """One attention, ready to be printed. ``score`` and ``budget`` are both set or both None."""

    name: str
    spec_name: str
    shape: HeadShape
    scale: float
    value_gate: GatePlan | None
    output_gate: GatePlan | None
    score: ScorePlan | None
    budget: BudgetPlan | None
    first: int
    last: int
    temperature: float | None
    train_origin: Origin | None
    origin: Origin
    forced_origin: Origin | None
    config: KernelConfig
    config_origin: str | None = None

    @property
    def listed(self) -> bool:
        """Whether queries attend to chosen keys (lists) rather than to a range of positions."""
        return self.score is not None
