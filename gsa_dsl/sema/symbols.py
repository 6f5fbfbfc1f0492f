"""Costs are formulas: the shape and the parameters as symbols, and written expressions over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from gsa_dsl.frontend import ast
from gsa_dsl.sema import typed
from gsa_dsl.sema.algebra import (
    NEGATIVE_OO,
    OO,
    ZERO,
    Expr,
    floor,
    infinite,
    log,
    maximum,
    minimum,
    number,
    summed,
    symbol,
)
from gsa_dsl.sema.names import SHAPE_SYMBOLS
from gsa_dsl.sema.ranges import COUNTS
from gsa_dsl.sema.typed import CheckedSpec, TypedExpr

if TYPE_CHECKING:
    import sympy

SHAPE: dict[str, Expr] = {name: symbol(name) for name in SHAPE_SYMBOLS}
L, B, H, HKV, G, D, DV, J, DI = (SHAPE[name] for name in ("L", "B", "H", "Hkv", "G", "D", "Dv", "J", "dI"))
ITEMSIZE = symbol("itemsize")

Table = Mapping[str, Expr]

_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "min": minimum,
    "max": maximum,
    "sqrt": lambda x: x ** Fraction(1, 2),
    "log": log,
}


class Undecidable(ValueError):
    """An expression has no formula that could be compared with another."""


def exact(value: int | float) -> Expr:
    """``value`` as the rational number its decimal digits say."""
    if math.isinf(value):
        return OO if value > 0 else NEGATIVE_OO
    return number(Fraction(repr(value)))


def parameters(spec: CheckedSpec) -> dict[str, Expr]:
    """Every parameter as a symbol of its own; one below 1 is a rate and stands as its number, a constant."""

    def formula(name: str, value: int | float) -> Expr:
        return exact(value) if value < 1 else symbol(name, integer=isinstance(value, int))

    return {name: formula(name, value) for name, value in spec.params}


def written(expr: ast.Expr, table: Table) -> Expr:
    """A written expression over the names of ``table``. Raises Undecidable at what has no formula."""
    match expr:
        case ast.Number(value=value):
            return exact(value)
        case ast.Name(id=name) if name in table:
            return table[name]
        case ast.Unary(operand=operand):
            return -written(operand, table)
        case ast.Binary(op=op, left=left, right=right):
            a, b = written(left, table), written(right, table)
            match op:
                case "+":
                    return a + b
                case "-":
                    return a - b
                case "*":
                    return a * b
                case "/":
                    return a / b
                case "^" if b.op == "num":
                    return a**b.value
        case ast.Call(func=func, args=args):
            if func.id in _FUNCTIONS:
                return _FUNCTIONS[func.id](*(written(arg, table) for arg in args))
    raise Undecidable(f"no formula for {expr}")


def spelt(formula: Expr | sympy.Expr) -> str:
    """A formula as a spec would write it, simplified and ordered by sympy."""
    import sympy

    return str(sympy.sympify(formula)).replace("**", "^").replace("*", " * ").replace("/", " / ")


class _Ends:
    """Both ends of an expression's range as formulas, by the rules of :mod:`gsa_dsl.sema.ranges`."""

    def __init__(self, spec: CheckedSpec, table: Table) -> None:
        self._indexer = spec.indexer
        self._table = table
        summing = spec.selection is not None and spec.selection.reduce == "sum"
        self._keys = spec.selection.block if spec.selection is not None and summing else 1

    def high(self, expr: TypedExpr) -> Expr:
        return self._end(expr, up=True)

    def low(self, expr: TypedExpr) -> Expr:
        return self._end(expr, up=False)

    def _end(self, expr: TypedExpr, *, up: bool) -> Expr:
        edge = expr.range.high if up else expr.range.low
        if math.isinf(edge):
            return exact(edge)
        match expr:
            case typed.Const(value=value, name=name):
                return self._table.get(name, exact(value))
            case typed.Reduce(op=op, body=body) if self._indexer is None or self._indexer.keys != "attention":
                return (J if op == "sum" else 1) * self._end(body, up=up)
            case typed.Statistic(op=op) if self._indexer is not None:
                return self._statistic(op, self._indexer.score, up=up)
            case typed.Ema(body=body, init=init):
                return (maximum if up else minimum)(self._end(body, up=up), exact(init))
            case typed.Apply(op=op, args=args):
                end = self._apply(op, args, edge, up=up)
                # An unbounded part says nothing, as in 0 * oo; the derived number still holds.
                return exact(edge) if infinite(end) else end
        return exact(edge)

    def _statistic(self, op: str, score: TypedExpr, *, up: bool) -> Expr:
        if op == "var":
            return (self._scored(score, up=True) - self._scored(score, up=False)) ** 2 / 4 if up else ZERO
        if op in COUNTS:
            return ZERO  # the lower end; the upper one is infinite
        return (maximum if up else minimum)(self._scored(score, up=up), 0)

    def _scored(self, score: TypedExpr, *, up: bool) -> Expr:
        """An end of the range of the scores that statistics are of: a key's, or sums of those of a block."""
        end = self._end(score, up=up)
        return end if self._keys == 1 else (maximum if up else minimum)(end, end * self._keys)

    def _apply(self, op: str, args: tuple[TypedExpr, ...], edge: float, *, up: bool) -> Expr:
        if op == "where":
            return (maximum if up else minimum)(*(self._end(arg, up=up) for arg in args[1:]))
        ends = [self._end(arg, up=up) for arg in args]
        other = [self._end(arg, up=not up) for arg in args]
        positive = all(arg.range.low >= 0 for arg in args)
        match op:
            case "neg":
                return -other[0]
            case "add":
                return ends[0] + ends[1]
            case "sub":
                return ends[0] - other[1]
            case "mul" if positive:
                return ends[0] * ends[1]
            case "div" if positive:
                return ends[0] / other[1]
            case "pow" if positive and args[1].range.low > 0 and ends[1].op == "num":
                return ends[0] ** ends[1].value
            case "min":
                return minimum(*ends)
            case "max":
                return maximum(*ends)
            case "clamp":
                return minimum(maximum(ends[0], ends[1]), ends[2])
            case "sqrt":
                return ends[0] ** Fraction(1, 2)
            case "relu":
                return maximum(ends[0], 0)
            case "abs":
                return maximum(ends[0], -other[0], *([] if up else [0]))
            case "sigmoid" | "tanh" if abs(edge) <= 1:
                return exact(edge)
        if any(isinstance(node, typed.Const) and node.name in self._table for arg in args for node in typed.walk(arg)):
            raise Undecidable(f"the growth of '{op}' has no formula")
        return exact(edge)


def budget_formula(spec: CheckedSpec, table: Table) -> Expr:
    """The largest number of units a query may choose by its budget, as a formula of the parameters; 0 without any.

    Raises Undecidable where the budget's growth has no formula.
    """
    return ZERO if spec.selection is None else floor(_Ends(spec, table).high(spec.selection.budget))


def forced_formula(spec: CheckedSpec, table: Table) -> Expr:
    """How many units are forced for a query far from both ends (:meth:`Forced.most`, as a formula)."""
    items = [item for clause in spec.tree.clauses if isinstance(clause, ast.Always) for item in clause.items]
    both_sides = not spec.causal and spec.forced.last > 0
    try:
        counts = dict(_forced_count(item, table) for item in items)
    except Undecidable:
        return number(spec.forced.most(causal=spec.causal))
    if both_sides:
        counts["last"] = 2 * counts["last"] - 1
    return summed(list(counts.values()))


def _forced_count(item: ast.AlwaysItem, table: Table) -> tuple[str, Expr]:
    return ("last", number(1)) if item.count is None else (item.kind.id, written(item.count, table))
