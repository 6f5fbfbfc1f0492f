"""The cost of a spec as tables: figures at one size, the formulas behind them, and dense attention beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from gsa_dsl.cli.output import Column, Json, print_table

if TYPE_CHECKING:
    import sympy

    from gsa_dsl.diagnostics import Source, Span
    from gsa_dsl.sema.algebra import Expr
    from gsa_dsl.sema.cost import CostRow, CostTable, Figures
    from gsa_dsl.sema.typed import CheckedSpec

QUANTITIES = ("flops", "bytes", "memory", "selected")
_LEGEND = """\
flops: of the forward pass, and of training the indexer; bytes: read and written; memory: held beside inputs and
outputs; selected: keys per query. An adaptive budget counts as its largest value."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a cost is evaluated at; elements have two bytes, ``value_dim`` is ``head_dim`` unless given."""

    length: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int = 0
    batch: int = 1

    def __post_init__(self) -> None:
        if not self.value_dim:
            object.__setattr__(self, "value_dim", self.head_dim)

    def __str__(self) -> str:
        heads = f"{self.heads} heads, {self.kv_heads} kv heads of {self.head_dim}"
        if self.value_dim != self.head_dim:
            heads += f" (values of {self.value_dim})"
        return f"L = {self.length:,}, B = {self.batch}, {heads}"

    def formula(self, expr: Expr) -> sympy.Expr:
        """``expr`` without Dv where values are as wide as keys."""
        import sympy

        from gsa_dsl.sema.symbols import DV, D

        formula = sympy.sympify(expr)
        return formula.subs(sympy.sympify(DV), sympy.sympify(D)) if self.value_dim == self.head_dim else formula

    def figures(self, table: CostTable) -> tuple[Figures, ...]:
        """The rows of ``table`` at these sizes, the total last."""
        heads = (self.heads, self.kv_heads, self.head_dim)
        return table.evaluate(self.length, *heads, self.batch, value_dim=self.value_dim)


def print_cost(spec: CheckedSpec, sizes: Sizes) -> None:
    """Print what every construct of ``spec`` costs, by which formula, and how that compares with dense attention."""
    from gsa_dsl.sema.algebra import ZERO
    from gsa_dsl.sema.cost import cost
    from gsa_dsl.sema.symbols import spelt

    table = cost(spec)
    figures = sizes.figures(table)
    lines = [_place(row.span, spec.source) for row in table.rows]
    columns = (Column("construct"), Column("line", True), *(Column(name, True) for name in QUANTITIES))
    rows = [_figures_row(figure, line) for figure, line in zip(figures, [*lines, ""], strict=True)]
    print_table(f"attention {spec.name} at {sizes}", columns, rows, total=True)
    print(_LEGEND, end="\n\n")
    formulas = [
        (row.construct, name, spelt(_in_pairs(sizes.formula(formula), table)))
        for row in table.rows
        for name in QUANTITIES
        if (formula := getattr(row, name)) != ZERO
    ]
    print_table("formulas", (Column("construct"), Column("of"), Column("formula")), formulas)
    print(f"pairs = {spelt(table.pairs)}, the pairs of a query and a key it attends to", end="\n\n")
    for line in _beside_dense(spec, table, sizes):
        print(line)


def cost_json(spec: CheckedSpec, sizes: Sizes) -> Json:
    """The same for machines: figures are plain numbers, bytes in bytes; formulas are text."""
    from gsa_dsl.sema.cost import cost
    from gsa_dsl.sema.symbols import spelt

    table = cost(spec)
    figures = sizes.figures(table)

    def formulas(row: CostRow) -> dict[str, str]:
        return {name: spelt(sizes.formula(getattr(row, name))) for name in QUANTITIES}

    return {
        "name": spec.name,
        "sizes": asdict(sizes),
        "params": dict(spec.params),
        "rows": [
            {**asdict(figure), "file": spec.source.of(row.span).name, "line": row.span.line, "formulas": formulas(row)}
            for row, figure in zip(table.rows, figures, strict=False)
        ],
        "total": asdict(figures[-1]),
        "pairs": table.attended(sizes.length),
        "dense": asdict(sizes.figures(_dense(causal=spec.causal))[-1]),
    }


def _place(span: Span, source: Source) -> str:
    """The line of ``span``, with its file where that is not ``source``."""
    file = source.of(span)
    return str(span.line) if file.name == source.name else f"{PurePath(file.name).name}:{span.line}"


def _dense(*, causal: bool) -> CostTable:
    """The cost of plain attention, causal or full."""
    from gsa_dsl.diagnostics import Source
    from gsa_dsl.frontend.parser import parse
    from gsa_dsl.sema.check import check
    from gsa_dsl.sema.cost import cost

    return cost(check(parse(Source("<dense>", f"attention dense {{ {'causal' if causal else 'full'} }}"))))


def _figures_row(figure: Figures, line: str) -> tuple[str, ...]:
    selected = f"{figure.selected:,.0f}" if figure.selected else ""
    return figure.construct, line, flops(figure.flops), size(figure.bytes), size(figure.memory), selected


def _in_pairs(formula: sympy.Expr, table: CostTable) -> sympy.Expr:
    """``formula`` with the number of attended pairs, which is long, as a name."""
    import sympy

    return formula.subs(sympy.sympify(table.pairs), sympy.Symbol("pairs"))


def _beside_dense(spec: CheckedSpec, table: CostTable, sizes: Sizes) -> list[str]:
    from gsa_dsl.sema.cost import TRAINING

    plain = _dense(causal=spec.causal)
    pairs, all_pairs = table.attended(sizes.length), plain.attended(sizes.length)
    figures, dense = sizes.figures(table), sizes.figures(plain)[-1]
    pair = "a query and an earlier key" if spec.causal else "a query and a key"

    def times(what: str, flops: float, moved: float) -> str:
        return f"{what}: {flops / dense.flops:.2f} times the flops, {moved / dense.bytes:.2f} times the bytes"

    lines = [
        f"attends to {pairs:,} of the {all_pairs:,} pairs of {pair} ({pairs / all_pairs:.1%})",
        f"dense attention at this size: {flops(dense.flops)}, {size(dense.bytes)}",
        times("this spec", figures[-1].flops, figures[-1].bytes),
    ]
    if spec.train is not None or spec.soft:
        used = [figure for figure in figures[:-1] if figure.construct not in TRAINING]
        lines.append(times("without training", sum(f.flops for f in used), sum(f.bytes for f in used)))
    return lines


def flops(count: float) -> str:
    """``1.23 TFLOP``; nothing for none."""
    return _scaled(count, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"))


def size(count: float) -> str:
    """``1.23 GiB``; nothing for none."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def _scaled(count: float, base: int, units: tuple[str, ...]) -> str:
    if not count:
        return ""
    step = 0
    while abs(count) >= base and step < len(units) - 1:
        count, step = count / base, step + 1
    return f"{count:.0f} {units[step]}" if step == 0 else f"{count:.4g} {units[step]}"
