"""Formulas of positive symbols: built with Python's operators, decided here, shown and simplified by sympy.

sympy takes longer to import than a spec takes to compile, so what every compile needs of a formula is done here:
building it, multiplying it out, putting numbers in. :meth:`Expr._sympy_` hands a formula to sympy where the two meet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sympy

Number = int | Fraction


@dataclass(frozen=True, slots=True, order=True)
class Expr:
    """A formula, immutable and compared as built: ``L * D`` and ``D * L`` differ until multiplied out.

    ``op`` is num, sym, oo, add, mul, pow, min, max, floor or log; a num's ``value`` and a pow's exponent are rational.
    """

    op: str
    args: tuple[Expr, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""
    integer: bool = False

    def __add__(self, other: Expr | Number) -> Expr:
        return _add(self, other) if isinstance(other, (Expr, int, Fraction)) else NotImplemented

    def __radd__(self, other: Number) -> Expr:
        return _add(other, self) if isinstance(other, (int, Fraction)) else NotImplemented

    def __mul__(self, other: Expr | Number) -> Expr:
        return _mul(self, other) if isinstance(other, (Expr, int, Fraction)) else NotImplemented

    def __rmul__(self, other: Number) -> Expr:
        return _mul(other, self) if isinstance(other, (int, Fraction)) else NotImplemented

    def __sub__(self, other: Expr | Number) -> Expr:
        return _add(self, _mul(-1, other)) if isinstance(other, (Expr, int, Fraction)) else NotImplemented

    def __rsub__(self, other: Number) -> Expr:
        return _add(other, _mul(-1, self)) if isinstance(other, (int, Fraction)) else NotImplemented

    def __truediv__(self, other: Expr | Number) -> Expr:
        return _mul(self, _lift(other) ** -1) if isinstance(other, (Expr, int, Fraction)) else NotImplemented

    def __rtruediv__(self, other: Number) -> Expr:
        return _mul(other, self**-1) if isinstance(other, (int, Fraction)) else NotImplemented

    def __pow__(self, exponent: Number) -> Expr:
        if not isinstance(exponent, (int, Fraction)):
            return NotImplemented
        if exponent == 1:
            return self
        if self.op == "num" and Fraction(exponent).denominator == 1 and (self.value or exponent > 0):
            return number(self.value ** int(exponent))
        return Expr("pow", (self,), Fraction(exponent))

    def __neg__(self) -> Expr:
        return _mul(-1, self)

    def _sympy_(self) -> sympy.Expr:
        """The formula as sympy writes it: its symbols are positive, counts are integers."""
        import sympy

        match self.op:
            case "num":
                return sympy.Rational(self.value.numerator, self.value.denominator)
            case "oo":
                return sympy.oo * int(self.value)
            case "sym":
                return sympy.Symbol(self.name, positive=True, **({"integer": True} if self.integer else {}))
            case "pow":
                return self.args[0]._sympy_() ** sympy.Rational(self.value.numerator, self.value.denominator)
        build = {"add": sympy.Add, "mul": sympy.Mul, "min": sympy.Min, "max": sympy.Max}
        build |= {"floor": sympy.floor, "log": sympy.log}
        return build[self.op](*(arg._sympy_() for arg in self.args))


Product = frozenset[tuple[Expr, Fraction]]
"""Powers multiplied together: symbols, and whatever cannot be multiplied out (min, max, floor, log, 1 / (a + b))."""

OO = Expr("oo", value=Fraction(1))
NEGATIVE_OO = Expr("oo", value=Fraction(-1))


def symbol(name: str, *, integer: bool = True) -> Expr:
    """A positive number that is not known yet."""
    return Expr("sym", name=name, integer=integer)


def number(value: Number) -> Expr:
    return Expr("num", value=Fraction(value))


def minimum(*args: Expr | Number) -> Expr:
    """The smallest of ``args``."""
    return _choice("min", args)


def maximum(*args: Expr | Number) -> Expr:
    """The largest of ``args``."""
    return _choice("max", args)


def floor(arg: Expr) -> Expr:
    return number(arg.value // 1) if arg.op == "num" else Expr("floor", (arg,))


def log(arg: Expr) -> Expr:
    """The natural logarithm."""
    return Expr("log", (arg,))


def summed(terms: tuple[Expr, ...] | list[Expr]) -> Expr:
    """The sum of ``terms``; 0 without any."""
    return reduce(_add, terms, number(0))


def symbols(expr: Expr) -> frozenset[Expr]:
    """The symbols in ``expr``."""
    if expr.op == "sym":
        return frozenset({expr})
    return frozenset().union(*(symbols(arg) for arg in expr.args))


def substitute(expr: Expr, values: Mapping[Expr, Expr | Number]) -> Expr:
    """``expr`` with symbols replaced."""
    if expr in values:
        return _lift(values[expr])
    args = tuple(substitute(arg, values) for arg in expr.args)
    match expr.op:
        case "add":
            return summed(args)
        case "mul":
            return reduce(_mul, args, number(1))
        case "pow":
            return args[0] ** expr.value
        case "min" | "max":
            return _choice(expr.op, args)
        case "floor":
            return floor(args[0])
        case "log":
            return log(args[0])
    return expr


def evaluate(expr: Expr, values: Mapping[Expr, int | float]) -> float:
    """The number ``expr`` is with ``values`` for its symbols; exact until roots or logarithms are taken."""
    return float(_number(expr, values))


def infinite(expr: Expr) -> bool:
    """Whether an infinity is left in ``expr``."""
    return expr.op == "oo" or any(infinite(arg) for arg in expr.args)


def negative(expr: Expr) -> bool:
    """Whether a minus sign stands before ``expr``."""
    if expr.op == "mul":
        return sum(negative(arg) for arg in expr.args) % 2 == 1
    return expr.op == "num" and expr.value < 0


def expanded(expr: Expr) -> dict[Product, Fraction]:
    """``expr`` multiplied out: a coefficient, never 0, for each product of powers."""
    match expr.op:
        case "num":
            return {frozenset(): expr.value} if expr.value else {}
        case "add":
            return reduce(_plus, map(expanded, expr.args))
        case "mul":
            return reduce(_times, map(expanded, expr.args))
        case "pow":
            base = expanded(expr.args[0])
            if expr.value.denominator == 1 and expr.value > 0:
                return reduce(_times, [base] * int(expr.value))
            if len(base) == 1:
                (product, coefficient), *_ = base.items()
                if coefficient == 1 or expr.value.denominator == 1:
                    powers = frozenset((atom, power * expr.value) for atom, power in product)
                    return {powers: Fraction(coefficient**expr.value)}
    return {frozenset({(expr, Fraction(1))}): Fraction(1)}


def _number(expr: Expr, values: Mapping[Expr, int | float]) -> Fraction | float:
    if expr in values:
        return Fraction(repr(values[expr]))
    args = [_number(arg, values) for arg in expr.args]
    match expr.op:
        case "num":
            return expr.value
        case "add":
            return sum(args)
        case "mul":
            return math.prod(args)
        case "pow":
            exact = expr.value.denominator == 1
            return args[0] ** int(expr.value) if exact else float(args[0]) ** float(expr.value)
        case "min":
            return min(args)
        case "max":
            return max(args)
        case "floor":
            return Fraction(math.floor(args[0]))
        case "log":
            return math.log(args[0])
    raise ValueError(f"no value for {expr.name or expr.op}")


def _lift(value: Expr | Number) -> Expr:
    return value if isinstance(value, Expr) else number(value)


def _add(left: Expr | Number, right: Expr | Number) -> Expr:
    a, b = _lift(left), _lift(right)
    if a.op == b.op == "num":
        return number(a.value + b.value)
    parts = [part for arg in (a, b) for part in (arg.args if arg.op == "add" else (arg,))]
    parts = [part for part in parts if part != ZERO]
    return parts[0] if len(parts) == 1 else Expr("add", tuple(parts))


def _mul(left: Expr | Number, right: Expr | Number) -> Expr:
    a, b = _lift(left), _lift(right)
    if a.op == b.op == "num":
        return number(a.value * b.value)
    parts = [part for arg in (a, b) for part in (arg.args if arg.op == "mul" else (arg,))]
    if ZERO in parts:
        return ZERO
    parts = [part for part in parts if part != ONE]
    return parts[0] if len(parts) == 1 else Expr("mul", tuple(parts))


def _choice(op: str, given: tuple[Expr | Number, ...]) -> Expr:
    """The smallest or largest of ``given``, as far as can be said without knowing the symbols."""
    lifted = [_lift(arg) for arg in given]
    args = [part for arg in lifted for part in (arg.args if arg.op == op else (arg,))]
    winner, loser = (NEGATIVE_OO, OO) if op == "min" else (OO, NEGATIVE_OO)
    if winner in args:
        return winner
    args = [arg for arg in args if arg != loser] or [loser]
    numbers = [arg.value for arg in args if arg.op == "num"]
    rest = list(dict.fromkeys(arg for arg in args if arg.op != "num"))
    if numbers:
        edge = min(numbers) if op == "min" else max(numbers)
        # Symbols are positive, so a sum without a minus is never below 0.
        if rest and edge <= 0 and all(_positive(arg) for arg in rest):
            return number(edge) if op == "min" else _choice(op, tuple(rest))
        rest.append(number(edge))
    return rest[0] if len(rest) == 1 else Expr(op, tuple(rest))


def _positive(expr: Expr) -> bool:
    if expr.op == "num":
        return expr.value > 0
    return expr.op == "sym" or (expr.op not in ("floor", "log") and all(_positive(arg) for arg in expr.args))


def _plus(a: dict[Product, Fraction], b: dict[Product, Fraction]) -> dict[Product, Fraction]:
    result = dict(a)
    for product, coefficient in b.items():
        result[product] = result.get(product, Fraction(0)) + coefficient
    return {product: coefficient for product, coefficient in result.items() if coefficient}


def _times(a: dict[Product, Fraction], b: dict[Product, Fraction]) -> dict[Product, Fraction]:
    result: dict[Product, Fraction] = {}
    for left, p in a.items():
        for right, q in b.items():
            product = joined(left, right)
            result[product] = result.get(product, Fraction(0)) + p * q
    return {product: coefficient for product, coefficient in result.items() if coefficient}


def joined(left: Product, right: Product) -> Product:
    """The product of two products."""
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, Fraction(0)) + power
    return frozenset((atom, power) for atom, power in powers.items() if power)


ZERO = number(0)
ONE = number(1)
