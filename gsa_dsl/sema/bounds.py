"""``bound QUANTITY <= ...``: decided from the cost formulas, or refused with the term that is missing.

``O(...)`` is decided by growth (:mod:`gsa_dsl.sema.growth`), for one sequence unless the bound names B; unless it names
Dv, its D stands for the larger of D and Dv. Without O only ``selected`` can be bounded, exactly: for the parameters as
bound, and for every shape.
"""

from __future__ import annotations

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Diagnostic, Label
from gsa_dsl.frontend import ast
from gsa_dsl.sema.algebra import ONE, ZERO, Expr, expanded, minimum, substitute, summed, symbols
from gsa_dsl.sema.cost import CostRow, CostTable, cost
from gsa_dsl.sema.growth import missing, spell
from gsa_dsl.sema.symbols import DI, DV, SHAPE, B, D, J, L, Undecidable, exact, parameters, spelt, written
from gsa_dsl.sema.typed import CheckedSpec

_QUANTITIES = {
    "flops": "flops are",
    "bytes": "bytes are",
    "memory": "memory is",
    "selected": "the number of selected keys is",
}


def violations(spec: CheckedSpec) -> tuple[Diagnostic, ...]:
    """What is wrong with the ``bound`` clauses of ``spec``; empty if all are proved."""
    bounds = [clause for clause in spec.tree.clauses if isinstance(clause, ast.Bound)]
    try:
        table = cost(spec)
    except Undecidable as reason:
        return tuple(_undecidable(bound, reason) for bound in bounds)
    found = (_decide(spec, table, bound) for bound in bounds)
    return tuple(diagnostic for diagnostic in found if diagnostic is not None)


def _decide(spec: CheckedSpec, table: CostTable, bound: ast.Bound) -> Diagnostic | None:
    names = {**SHAPE, **parameters(spec)}
    try:
        limit = written(bound.body, names)
        if bound.asymptotic:
            return _asymptotic(spec, table, bound, limit)
        return _exact(spec, table, bound, limit)
    except Undecidable as reason:
        return _undecidable(bound, reason)


def _asymptotic(spec: CheckedSpec, table: CostTable, bound: ast.Bound, limit: Expr) -> Diagnostic | None:
    same = _same_symbols(spec)
    if B not in symbols(limit):
        same = {**same, B: ONE}
    if DV not in symbols(limit):
        # Costs grow with both, so a bound for the larger in place of both holds.
        same = {**same, DV: D}
    limit = substitute(limit, same)
    rows = {row.construct: row for row in table.rows}
    costs = {name: substitute(getattr(row, bound.quantity.id), same) for name, row in rows.items()}
    lacking = missing(costs, limit)
    if not lacking:
        return None
    blamed: dict[str, list[str]] = {}
    for monomial, name in lacking.items():
        blamed.setdefault(name, []).append(spell(monomial))
    text = _text(spec, bound.body)
    return Diagnostic(
        codes.BOUND_EXCEEDED,
        f"{_QUANTITIES[bound.quantity.id]} not O({text})",
        bound.span,
        reason="; ".join(f"'{name}' grows as {', '.join(terms)}" for name, terms in blamed.items()),
        fix=f"add what is missing: 'O({' + '.join([text, *map(spell, lacking)])})'",
        labels=tuple(Label(rows[name].span, f"{name}: {', '.join(terms)}") for name, terms in blamed.items()),
    )


def _same_symbols(spec: CheckedSpec) -> dict[Expr, Expr]:
    """J and dI as the parameters that set them: ``heads n`` makes n and J one variable."""
    table = parameters(spec)
    sizes = {"heads": J, "dim": DI}
    settings = [s for clause in spec.tree.clauses if isinstance(clause, ast.Indexer) for s in clause.settings]
    return {
        sizes[setting.key.id]: table[setting.value.id]
        for setting in settings
        if setting.key.id in sizes and isinstance(setting.value, ast.Name)
    }


def _exact(spec: CheckedSpec, table: CostTable, bound: ast.Bound, limit: Expr) -> Diagnostic | None:
    dense = spec.selection is None and spec.forced.span is None
    budget = 0 if spec.selection is None else spec.selection.most
    block = 1 if spec.selection is None else spec.selection.block
    most = None if dense else (budget + spec.forced.most(causal=spec.causal)) * block
    bound_values = {symbol: exact(value) for symbol, value in table.values}
    value = substitute(limit, bound_values)
    if _at_least(value, most):
        return None
    text = _text(spec, bound.body)
    rows = [row for row in table.rows if row.selected != ZERO]
    keys = summed([_uncapped(row) for row in rows])
    total = "every key, L" if most is None else f"up to {spelt(keys)} = {most} keys"
    number = f" = {spelt(value)}" if value.op == "num" and spelt(value) != text else ""
    return Diagnostic(
        codes.SELECTED_EXCEEDED,
        f"a query may get more than {text} keys",
        bound.span,
        reason=f"it gets {total}; the bound is {text}{number}",
        fix=f"write 'bound selected <= {'L' if most is None else spelt(keys)}'",
        labels=tuple(Label(row.span, f"{row.construct}: {spelt(_uncapped(row))}") for row in rows),
    )


def _uncapped(row: CostRow) -> Expr:
    """The keys a query gets by ``row`` at a position that has them."""
    if row.selected.op == "min":
        return minimum(*(arg for arg in row.selected.args if arg != L))
    return row.selected


def _at_least(limit: Expr, most: int | None) -> bool:
    """Whether ``min(most, L) <= limit`` is proved for every shape; ``most`` None stands for no cap."""
    if limit.op == "min":
        return all(_at_least(arg, most) for arg in limit.args)
    if limit.op == "max":
        return any(_at_least(arg, most) for arg in limit.args)
    return _never_negative(limit - L) or (most is not None and _never_negative(limit - most))


def _never_negative(expr: Expr) -> bool:
    """Whether ``expr`` >= 0 for all shapes >= 1: in x = 1 + y, y >= 0, no coefficient of the polynomial is negative."""
    shifted = expanded(substitute(expr, {symbol: symbol + 1 for symbol in symbols(expr)}))
    polynomial = all(atom.op == "sym" and power > 0 for powers in shifted for atom, power in powers)
    return polynomial and all(coefficient >= 0 for coefficient in shifted.values())


def _undecidable(bound: ast.Bound, reason: Undecidable) -> Diagnostic:
    fix = "clamp the budget to a parameter, such as k_max, that the bound can name"
    return Diagnostic(codes.BOUND_FORM, "this bound cannot be decided", bound.span, reason=str(reason), fix=fix)


def _text(spec: CheckedSpec, node: ast.Node) -> str:
    return spec.source.quote(node.span)
