"""What a checked spec costs: a row of formulas a construct, and their numbers at given sizes."""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.diagnostics.span import Span
from gsa_dsl.frontend import ast
from gsa_dsl.sema import formulas
from gsa_dsl.sema.algebra import ONE, Expr, evaluate, minimum, number, summed
from gsa_dsl.sema.counting import statistics
from gsa_dsl.sema.formulas import Formula
from gsa_dsl.sema.grain import Grain, attended, grain
from gsa_dsl.sema.symbols import DI, DV, HKV, ITEMSIZE, B, D, H, J, L, budget_formula, forced_formula, parameters
from gsa_dsl.sema.typed import CheckedSpec

TRAINING = ("kl loss", "kl gradient", "logit gradient")
"""The constructs that only train the indexer; all others are of the forward pass."""


@dataclass(frozen=True, slots=True)
class CostRow:
    """One construct's costs (see :mod:`gsa_dsl.sema.formulas`) and the place in the spec that asks for it."""

    construct: str
    span: Span
    flops: Expr
    bytes: Expr
    memory: Expr
    selected: Expr


@dataclass(frozen=True, slots=True)
class Figures:
    """A row's costs as numbers."""

    construct: str
    flops: float
    bytes: float
    memory: float
    selected: float


@dataclass(frozen=True, slots=True)
class CostTable:
    """``pairs``: all (query, key) pairs attended to in one sequence. ``values``: the parameters, J and dI as bound."""

    rows: tuple[CostRow, ...]
    total: CostRow
    pairs: Expr
    values: tuple[tuple[Expr, int | float], ...]

    def evaluate(
        self,
        L: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        B: int = 1,
        itemsize: int = 2,
        *,
        value_dim: int | None = None,
    ) -> tuple[Figures, ...]:
        """Every row's numbers for these sizes, the total last; adaptive budgets count as their largest value.

        ``value_dim`` is ``head_dim`` unless given.
        """
        sizes = self._sizes(L, heads, kv_heads, (head_dim, value_dim or head_dim), B, itemsize)
        return tuple(
            Figures(row.construct, *(evaluate(getattr(row, name), sizes) for name in Formula.__slots__))
            for row in (*self.rows, self.total)
        )

    def attended(self, L: int) -> int:
        """How many (query, key) pairs one sequence of length ``L`` attends to."""
        return int(evaluate(self.pairs, self._sizes(L, 1, 1, (1, 1), 1, 1)))

    def _sizes(
        self, length: int, heads: int, kv_heads: int, dims: tuple[int, int], batch: int, itemsize: int
    ) -> dict[Expr, int | float]:
        shape = {L: length, H: heads, HKV: kv_heads, D: dims[0], DV: dims[1], B: batch, ITEMSIZE: itemsize}
        return {**shape, **dict(self.values)}


def cost(spec: CheckedSpec, pairs_found: int | None = None) -> CostTable:
    """The formulas of ``spec``. Raises Undecidable where a budget's largest value has no formula.

    With ``pairs_found``, the pairs that one sequence was seen to attend to, attention costs what these do, not the most
    that the spec allows.
    """
    table = parameters(spec)
    budget, forced = budget_formula(spec, table), forced_formula(spec, table)
    dense = spec.selection is None and spec.forced.span is None
    grained = grain(spec, table)
    pairs = grained.columns if dense else attended((budget + forced) * grained.block, causal=spec.causal)
    pairs = pairs if pairs_found is None else number(pairs_found)
    rows = _rows(spec, budget, forced, grained, pairs, dense=dense)
    whole = CostRow(
        "total",
        spec.tree.name.span,
        flops=summed([row.flops for row in rows]),
        bytes=summed([row.bytes for row in rows]),
        memory=summed([row.memory for row in rows]),
        selected=minimum(summed([row.selected for row in rows]), L),
    )
    values = [(symbol, value) for name, value in spec.params if (symbol := table[name]).op == "sym"]
    if spec.indexer is not None and spec.indexer.keys != "attention":
        values += [(J, spec.indexer.heads), (DI, spec.indexer.dim)]
    return CostTable(rows, whole, pairs, tuple(values))


def _rows(
    spec: CheckedSpec, budget: Expr, forced: Expr, grained: Grain, pairs: Expr, *, dense: bool
) -> tuple[CostRow, ...]:
    rows: list[CostRow] = []

    def add(construct: str, span: Span, formula: Formula) -> None:
        rows.append(CostRow(construct, span, formula.flops, formula.bytes, formula.memory, formula.selected))

    # Of tokens a query lists no more than it sees; blocks and runs count as full lists.
    single = grained.block == grained.run == ONE
    places = pairs if single else minimum(budget + forced, grained.units) * grained.rows
    name = spec.tree.name.span
    targets: set[str] = set()
    for clause in spec.tree.clauses:
        if isinstance(clause, ast.Documents):
            add("documents", clause.span, formulas.documents())
    for gate in spec.gates:
        first = gate.target not in targets
        targets.add(gate.target)
        add(f"gate {gate.name}", gate.span, formulas.gate(gate, first=first))
    if spec.indexer is not None:
        add("indexer", spec.indexer.span, formulas.indexer(spec.indexer, grained))
    if spec.selection is not None:
        expr = spec.selection.budget
        if spec.selection.adaptive:
            span = next(clause.span for clause in spec.tree.clauses if isinstance(clause, ast.Budget))
            add("budget", span, formulas.budget(expr, statistics(expr), len(spec.emas), grained))
        add("select", spec.selection.span, formulas.select(budget, budget + forced, places, grained))
    if spec.forced.span is not None:
        add("always", spec.forced.span, formulas.always(forced, grained))
    listed = spec.selection is not None
    span = spec.selection.span if spec.selection is not None else spec.forced.span or name
    add("attention", span, formulas.attention(pairs, places, grained, listed=listed, dense=dense))
    if spec.logit is not None:
        add("logit", spec.logit.span, formulas.logit(spec.logit, spec.indexer, pairs, grained, listed=listed))
    add("softmax", span, formulas.softmax(pairs))
    if spec.sink is not None:
        add("sink", spec.sink.span, formulas.sink())
    if spec.soft and spec.logit is not None and spec.indexer is not None:
        add("logit gradient", spec.logit.span, formulas.logit_gradient(spec.indexer, pairs, grained))
    if spec.train is not None and spec.indexer is not None:
        add("kl loss", spec.train.span, formulas.kl_loss(spec.indexer, pairs, grained))
        add("kl gradient", spec.train.span, formulas.kl_gradient(spec.indexer, pairs, grained))
    return tuple(rows)
