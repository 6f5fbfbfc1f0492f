"""The formulas' own algebra against sympy's: the same numbers, the same products, the same simplifications."""

from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from gsa_dsl.sema.algebra import (
    NEGATIVE_OO,
    OO,
    Expr,
    evaluate,
    expanded,
    floor,
    infinite,
    log,
    maximum,
    minimum,
    negative,
    number,
    substitute,
    symbol,
)

A, B, C = (symbol(name) for name in "abc")
VALUES = {A: 3, B: 7, C: 11}

leaves = st.one_of(
    st.sampled_from([A, B, C]),
    st.fractions(min_value=-3, max_value=3, max_denominator=4).map(number),
)
polynomials = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda ab: ab[0] + ab[1]),
        st.tuples(inner, inner).map(lambda ab: ab[0] - ab[1]),
        st.tuples(inner, inner).map(lambda ab: ab[0] * ab[1]),
        st.tuples(inner, st.integers(1, 3)).map(lambda an: an[0] ** an[1]),
        inner.map(lambda a: -a),
    ),
    max_leaves=8,
)
formulas = st.recursive(
    polynomials,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda ab: minimum(*ab)),
        st.tuples(inner, inner).map(lambda ab: maximum(*ab)),
        inner.map(floor),
        st.tuples(inner, inner).map(lambda ab: ab[0] + ab[1]),
        st.tuples(inner, inner).map(lambda ab: ab[0] * ab[1]),
    ),
    max_leaves=6,
)


def gathered(expr: Expr) -> sympy.Expr:
    """``expr`` multiplied out here, written by sympy."""
    products = [
        coefficient * sympy.Mul(*(sympy.sympify(atom) ** sympy.Rational(str(power)) for atom, power in powers))
        for powers, coefficient in expanded(expr).items()
    ]
    return sympy.Add(*map(sympy.sympify, products))


@settings(max_examples=60, deadline=None)
@given(polynomials)
def test_multiplied_out_as_sympy_does(expr: Expr) -> None:
    assert gathered(expr) == sympy.expand(sympy.sympify(expr))


@settings(max_examples=60, deadline=None)
@given(formulas)
def test_the_same_number_as_sympys(expr: Expr) -> None:
    numbers = {sympy.sympify(name): value for name, value in VALUES.items()}
    assert evaluate(expr, VALUES) == pytest.approx(float(sympy.sympify(expr).subs(numbers)), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(formulas)
def test_putting_numbers_in_is_evaluating(expr: Expr) -> None:
    value = substitute(expr, VALUES)
    assert value.op == "num"
    assert float(value.value) == pytest.approx(evaluate(expr, VALUES), rel=1e-12)


def test_formulas_meet_sympy_in_both_orders() -> None:
    x = sympy.Symbol("x")
    a = sympy.Symbol("a", positive=True, integer=True)
    assert A * 2 + x == 2 * a + x == x + A * 2
    assert x / A == x / a
    assert A - x == a - x
    assert a == A


def test_roots_powers_and_logarithms() -> None:
    root = (A * B) ** Fraction(1, 2)
    assert expanded(root * root) == expanded(A * B)
    assert expanded(A / B * B) == expanded(A)
    assert evaluate(root, VALUES) == pytest.approx(21**0.5)
    assert evaluate(log(A), VALUES) == pytest.approx(float(sympy.log(3)))
    # A quotient by a sum is one piece.
    ((powers, coefficient),) = expanded(6 * A / (B + C)).items()
    assert coefficient == 6
    assert {atom.op for atom, _ in powers} == {"sym", "pow"}


def test_choices_are_made_where_they_can_be() -> None:
    assert minimum(3, 5) == number(3)
    assert minimum(A, A) == A
    assert maximum(A * B, 0) == A * B
    assert maximum(A - B, 0).op == "max"
    assert minimum(A, 0) == number(0)
    assert minimum(OO, A) == A
    assert maximum(OO, A) == OO
    assert maximum(NEGATIVE_OO, A) == A
    assert minimum(minimum(A, B), C) == minimum(A, B, C)
    assert floor(number(Fraction(7, 2))) == number(3)


def test_signs_and_infinities_are_found() -> None:
    assert negative(-A)
    assert negative(A * -2)
    assert not negative(-A * -B)
    assert infinite(A + 2 * OO)
    assert not infinite(A * 0 + 1)


def test_a_formula_has_no_value_without_its_symbols() -> None:
    with pytest.raises(ValueError, match="no value for b"):
        evaluate(A + B, {A: 1})
