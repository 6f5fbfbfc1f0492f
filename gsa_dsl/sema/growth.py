"""How a cost grows: formulas reduced to exponent vectors, compared by dominance.

All variables are at least 1 and grow independently, with two exceptions that are substituted away: H = Hkv * G, as
every kv head serves G query heads; and L against a budget k, as costs hold the number of keys in reach, ``min(k, L)``,
which either of the two bounds from above. A monomial is dominated by another if no variable has a larger exponent.

A term that contains ``min(a, b)`` is a choice: it is bounded by its ``a`` form and by its ``b`` form, whichever helps.
A sum, ``max(a, b)`` or the difference of two terms grows as its parts do (a subtracted part is dropped).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from itertools import product

from gsa_dsl.sema.algebra import Expr, expanded, negative
from gsa_dsl.sema.symbols import HKV, ITEMSIZE, SHAPE, G, H, Undecidable, spelt

Monomial = frozenset[tuple[str, Fraction]]
"""The nonzero exponents of a product of powers."""

Posynomial = frozenset[Monomial]
"""A sum of monomials, coefficients dropped."""

ONE: Monomial = frozenset()


def terms(cost: Expr) -> Iterator[tuple[Posynomial, ...]]:
    """The summands of ``cost``, each as the forms that bound it from above, any of which will do."""
    for powers, coefficient in expanded(cost).items():
        if coefficient > 0:
            factors = [_power(atom, exponent, upper=True) for atom, exponent in sorted(powers)]
            yield tuple(dict.fromkeys(_times(choice) for choice in product(*factors)))


def allowances(bound: Expr) -> tuple[Posynomial, ...]:
    """The forms that ``bound`` can take, each of which must be kept: one for every choice its ``min`` leaves."""
    return tuple(dict.fromkeys(_forms(bound, upper=False)))


def dominated(small: Monomial, large: Monomial) -> bool:
    """Whether ``small`` is at most ``large`` for all variables >= 1."""
    allowed = dict(large)
    needed = dict(small)
    return all(needed.get(name, 0) <= allowed.get(name, 0) for name in needed.keys() | allowed.keys())


def missing(costs: Mapping[str, Expr], bound: Expr) -> dict[Monomial, str]:
    """The fewest monomials to add to ``bound`` so that it holds for the sum of ``costs``, each with the cost it is of.

    Empty if the bound holds. Terms without a choice are added first: they often allow the others.
    """
    pending = [(name, forms) for name, expr in costs.items() for forms in terms(expr)]
    pending.sort(key=lambda item: len(item[1]))
    added: dict[Monomial, str] = {}
    for allowance in allowances(bound):
        allowed = set(allowance)
        for choices in (False, True):
            found: dict[Monomial, str] = {}
            for name, forms in pending:
                lacking = [_lacking(form, allowed | found.keys()) for form in forms]
                if (len(forms) > 1) == choices and all(lacking):
                    found.update(dict.fromkeys(_smallest(lacking), name))
            kept = {monomial: found[monomial] for monomial in largest(found)}
            allowed |= kept.keys()
            added.update(kept)
    fastest_first = sorted(largest(added), key=lambda monomial: -dict(monomial).get("L", Fraction(0)))
    return {monomial: added[monomial] for monomial in fastest_first}


def largest(monomials: Collection[Monomial]) -> tuple[Monomial, ...]:
    """Those that no other one dominates."""
    return tuple(m for m in monomials if not any(m != other and dominated(m, other) for other in monomials))


def spell(monomial: Monomial) -> str:
    """``L^2 * H * D``: shape first, in the order of the language, then parameters; Hkv * G is H again."""
    exponents = dict(monomial)
    shared = min(exponents.get("Hkv", Fraction(0)), exponents.get("G", Fraction(0)))
    for name, delta in (("Hkv", -shared), ("G", -shared), ("H", shared)):
        exponents[name] = exponents.get(name, Fraction(0)) + delta
    order = ["L", *sorted(set(exponents) - set(SHAPE)), *(name for name in SHAPE if name != "L")]
    powers = [(name, exponents[name]) for name in order if exponents.get(name)]
    return " * ".join(name if power == 1 else f"{name}^{power}" for name, power in powers) or "1"


def _lacking(form: Posynomial, allowed: Collection[Monomial]) -> tuple[Monomial, ...]:
    return tuple(m for m in sorted(form, key=sorted) if not any(dominated(m, other) for other in allowed))


def _smallest(forms: list[tuple[Monomial, ...]]) -> tuple[Monomial, ...]:
    """The form that grows least with the length: the smaller demand is the one to report."""

    def growth(form: tuple[Monomial, ...]) -> tuple[Fraction, int]:
        return max(dict(monomial).get("L", Fraction(0)) for monomial in form), len(form)

    return sorted(forms, key=growth)[0]


def _forms(expr: Expr, *, upper: bool) -> tuple[Posynomial, ...]:
    """The choices of ``expr``, each a posynomial. Raises Undecidable at what is no product, sum or power of them."""
    match expr.op:
        case "num":
            return (frozenset({ONE}),)
        case "sym" if expr == H:
            return _forms(HKV * G, upper=upper)
        case "sym" if expr == ITEMSIZE:
            return (frozenset({ONE}),)
        case "sym":
            return (frozenset({frozenset({(expr.name, Fraction(1))})}),)
        case "floor":
            return _forms(expr.args[0], upper=upper)
        case "log":
            # Between a constant and its argument: the bound is given the former, the cost the latter.
            return _forms(expr.args[0], upper=upper) if upper else (frozenset({ONE}),)
        case "min":
            return tuple(form for arg in expr.args for form in _forms(arg, upper=upper))
        case "max" | "add":
            parts = [arg for arg in expr.args if not negative(arg)]
            return tuple(frozenset().union(*choice) for choice in product(*(_forms(arg, upper=upper) for arg in parts)))
        case "mul":
            return tuple(_times(choice) for choice in product(*(_forms(arg, upper=upper) for arg in expr.args)))
        case "pow":
            return _power(expr.args[0], expr.value, upper=upper)
    raise Undecidable(f"'{spelt(expr)}' is no sum of products of powers")


def _power(base: Expr, exponent: Fraction, *, upper: bool) -> tuple[Posynomial, ...]:
    if exponent > 1 and exponent.denominator == 1:
        # Each factor of a power chooses for itself: min(k, L)^2 is bounded by k * L too.
        return tuple(_times(choice) for choice in product(_forms(base, upper=upper), repeat=int(exponent)))
    forms = _forms(base, upper=upper)
    if exponent < 0 and any(len(form) > 1 for form in forms):
        raise Undecidable(f"a division by the sum '{spelt(base)}'")
    return tuple(frozenset(_raise(m, exponent) for m in form) for form in forms)


def _raise(monomial: Monomial, exponent: Fraction) -> Monomial:
    return frozenset((name, power * exponent) for name, power in monomial)


def _times(factors: tuple[Posynomial, ...]) -> Posynomial:
    """The product of posynomials, multiplied out."""
    result: Posynomial = frozenset({ONE})
    for factor in factors:
        result = frozenset(_join(a, b) for a in result for b in factor)
    return result


def _join(a: Monomial, b: Monomial) -> Monomial:
    exponents = dict(a)
    for name, power in b:
        exponents[name] = exponents.get(name, Fraction(0)) + power
    return frozenset((name, power) for name, power in exponents.items() if power)
