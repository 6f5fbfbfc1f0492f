"""Costs are formulas: the shape and the parameters as sympy symbols, and written expressions over them."""

from __future__ import annotations

from collections.abc import Mapping

import sympy

from gsa_dsl.frontend import ast
from gsa_dsl.sema import typed
from gsa_dsl.sema.names import SHAPE_SYMBOLS
from gsa_dsl.sema.typed import CheckedSpec, TypedExpr

SHAPE: dict[str, sympy.Symbol] = {name: sympy.Symbol(name, positive=True, integer=True) for name in SHAPE_SYMBOLS}
L, B, H, HKV, G, D, J, DI = (SHAPE[name] for name in ("L", "B", "H", "Hkv", "G", "D", "J", "dI"))
ITEMSIZE = sympy.Symbol("itemsize", positive=True, integer=True)

Table = Mapping[str, sympy.Expr]


class Undecidable(ValueError):
    """An expression has no formula that could be compared with another."""


def exact(value: int | float) -> sympy.Expr:
    """``value`` as the rational number its decimal digits say."""
    return sympy.Rational(repr(value))


def parameters(spec: CheckedSpec) -> dict[str, sympy.Expr]:
    """Every parameter as a symbol of its own; one below 1 is a rate and stands as its number, a constant."""

    def symbol(name: str, value: int | float) -> sympy.Expr:
        if value < 1:
            return exact(value)
        return sympy.Symbol(name, positive=True, integer=isinstance(value, int))

    return {name: symbol(name, value) for name, value in spec.params}


def written(expr: ast.Expr, table: Table) -> sympy.Expr:
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
                case "^":
                    return a**b
        case ast.Call(func=func, args=args):
            function = {"min": sympy.Min, "max": sympy.Max, "sqrt": sympy.sqrt, "log": sympy.log}.get(func.id)
            if function is not None:
                return function(*(written(arg, table) for arg in args))
    raise Undecidable(f"no formula for {expr}")


def spelt(expr: sympy.Expr) -> str:
    """A formula as a spec would write it."""
    return str(expr).replace("**", "^").replace("*", " * ").replace("/", " / ")


def largest(expr: TypedExpr, score: TypedExpr | None, table: Table) -> sympy.Expr:
    """The largest value of a budget as a formula of the parameters.

    ``score`` is what the statistics are of. Raises Undecidable where the budget's growth has no formula.
    """
    return _Ends(score, table).high(expr)


class _Ends:
    """Both ends of an expression's range as formulas, by the rules of :mod:`gsa_dsl.sema.ranges`."""

    def __init__(self, score: TypedExpr | None, table: Table) -> None:
        self._score = score
        self._table = table

    def high(self, expr: TypedExpr) -> sympy.Expr:
        return self._end(expr, up=True)

    def low(self, expr: TypedExpr) -> sympy.Expr:
        return self._end(expr, up=False)

    def _end(self, expr: TypedExpr, *, up: bool) -> sympy.Expr:
        number = expr.range.high if up else expr.range.low
        if abs(number) == sympy.oo:
            return sympy.oo if up else -sympy.oo
        match expr:
            case typed.Const(value=value, name=name):
                return self._table.get(name, exact(value))
            case typed.Reduce(op=op, body=body):
                return (J if op == "sum" else 1) * self._end(body, up=up)
            case typed.Statistic(op=op) if self._score is not None:
                return self._statistic(op, self._score, up=up)
            case typed.Ema(body=body, init=init):
                join = sympy.Max if up else sympy.Min
                return join(self._end(body, up=up), exact(init))
            case typed.Apply(op=op, args=args):
                end = self._apply(op, args, number, up=up)
                # An unbounded part can leave 0 * oo behind; the derived number still holds.
                return exact(number) if end.has(sympy.oo, -sympy.oo, sympy.nan, sympy.zoo) else end
        return exact(number)

    def _statistic(self, op: str, score: TypedExpr, *, up: bool) -> sympy.Expr:
        if op == "var":
            return (self.high(score) - self.low(score)) ** 2 / 4 if up else sympy.Integer(0)
        join = sympy.Max if up else sympy.Min
        return join(self._end(score, up=up), 0)

    def _apply(self, op: str, args: tuple[TypedExpr, ...], number: float, *, up: bool) -> sympy.Expr:
        if op == "where":
            return (sympy.Max if up else sympy.Min)(*(self._end(arg, up=up) for arg in args[1:]))
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
            case "pow" if positive and args[1].range.low > 0:
                return ends[0] ** ends[1]
            case "min":
                return sympy.Min(*ends)
            case "max":
                return sympy.Max(*ends)
            case "clamp":
                return sympy.Min(sympy.Max(ends[0], ends[1]), ends[2])
            case "sqrt":
                return sympy.sqrt(ends[0])
            case "relu":
                return sympy.Max(ends[0], 0)
            case "abs":
                return sympy.Max(ends[0], -other[0], *([] if up else [0]))
            case "sigmoid" | "tanh" if abs(number) <= 1:
                return exact(number)
        if any(isinstance(node, typed.Const) and node.name in self._table for arg in args for node in typed.walk(arg)):
            raise Undecidable(f"the growth of '{op}' has no formula")
        return exact(number)


def budget_formula(spec: CheckedSpec, table: Table) -> sympy.Expr:
    """The largest number of keys a query may choose by its budget; 0 without a selection."""
    if spec.selection is None:
        return sympy.Integer(0)
    score = None if spec.indexer is None else spec.indexer.score
    return sympy.floor(largest(spec.selection.budget, score, table))


def forced_formula(spec: CheckedSpec, table: Table) -> sympy.Expr:
    """How many keys are forced for a query far from the start."""
    items = [item for clause in spec.tree.clauses if isinstance(clause, ast.Always) for item in clause.items]
    try:
        return sum((written(item.count, table) for item in items), sympy.Integer(0))
    except Undecidable:
        return sympy.Integer(spec.forced.first + spec.forced.last)
