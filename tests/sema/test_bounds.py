"""Bounds: what holds is accepted, what does not is refused with the term that is missing."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import sympy

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema.algebra import Expr, minimum, symbol
from gsa_dsl.sema.cost import cost
from gsa_dsl.sema.formulas import WORKSPACE
from gsa_dsl.sema.growth import missing, spell
from gsa_dsl.sema.symbols import ITEMSIZE, SHAPE, parameters, written
from tests.sema.specs import EXAMPLES, attention, example, indexer, quoted, refused

RELU = "sum(j) w[t, j] * relu(q[t, j] . k[s])"
SPARSE = (indexer(RELU), "select top k tokens", "always last recent", "train indexer with kl")
PARAMS = "(k = 2048, recent = 64)"
WINDOW = ("always first sinks, last window",)
GATED = ("gate value = sigmoid(linear(x)) per element",)

ACCEPTED = [
    ((), "", "flops <= O(L^2 * H * D)"),
    ((), "", "flops <= O(L * H * D * L)"),
    ((), "", "flops <= O(L^2 * Hkv * G * D)"),
    ((), "", "flops <= O(B * L^2 * H * D)"),
    ((), "", "flops <= O(L^3 * H * D / 2)"),
    ((), "", "flops <= O(max(L, D) * L^2 * H * D)"),
    ((), "", "memory <= O(L * H)"),
    ((), "", "bytes <= O(L^2 * Hkv * D + L * H * D)"),
    ((), "", "selected <= L"),
    ((), "", "selected <= L * D"),
    ((), "", "selected <= O(L)"),
    (WINDOW, "(window = 1024, sinks = 4)", "flops <= O(L * (window + sinks) * H * D)"),
    (WINDOW, "(window = 1024, sinks = 4)", "flops <= O(L^2 * H * D)"),
    (WINDOW, "(window = 1024, sinks = 4)", "selected <= window + sinks"),
    (WINDOW, "(window = 1024, sinks = 4)", "selected <= 1028"),
    (WINDOW, "(window = 1024, sinks = 4)", "selected <= min(L, window + sinks)"),
    (SPARSE, PARAMS, "flops <= O(L^2 * J * dI + L * (k + recent) * H * D)"),
    (SPARSE, PARAMS, "flops <= O(L^2 * (J * dI + H * D))"),
    (SPARSE, PARAMS, "memory <= O(L * (k + recent) + L * H)"),
    (SPARSE, PARAMS, "memory <= O(L^2 + L * H)"),
    (SPARSE, PARAMS, "selected <= k + recent"),
    (SPARSE, PARAMS, "selected <= 2 * k"),
    (SPARSE, PARAMS, "selected <= L + k"),
    (SPARSE, PARAMS, "selected <= O(k + recent)"),
    (GATED, "", "memory <= O(L * Hkv * D + L * H)"),
    (GATED, "", "memory <= O(L * H * D)"),
    ((indexer(RELU, heads="n"), "select top 64 tokens"), "(n = 4)", "flops <= O(L^2 * n * dI + L * H * D)"),
]
REFUSED = [
    ((), "", "flops <= O(L * H * D)", "L^2 * H * D"),
    ((), "", "flops <= O(L^2 * H)", "L^2 * H * D"),
    ((), "", "flops <= O(L^2 * Hkv * D)", "L^2 * H * D"),
    ((), "", "flops <= O(min(L, D) * L * H * D)", "L^2 * H * D"),
    ((), "", "flops <= O(L^2 * H * log(D))", "L^2 * H * D"),
    ((), "", "flops <= O(B + L^2 * H * D)", "L^2 * B * H * D"),
    ((), "", "flops <= O(10^30)", "L^2 * H * D"),
    ((), "", "memory <= O(L)", "L * H"),
    (WINDOW, "(window = 1024, sinks = 4)", "flops <= O(L * window * H * D)", "L * sinks * H * D"),
    (SPARSE, PARAMS, "flops <= O(L * (k + recent) * H * D)", "L^2 * J * dI"),
    (SPARSE, PARAMS, "flops <= O(L^2 * J + L * (k + recent) * H * D)", "L^2 * J * dI"),
    (SPARSE, PARAMS, "flops <= O(L^2 * J * dI + L * k * H * D)", "L * recent * H * D"),
    (SPARSE, PARAMS, "flops <= O(L^2 * J * dI + L * H * D)", "L * k * H * D"),
    (SPARSE, PARAMS, "memory <= O(L * k + L * H)", "L * recent"),
    (SPARSE, PARAMS, "selected <= O(k)", "recent"),
    (GATED, "", "memory <= O(L * H)", "L * Hkv * D"),
]


@pytest.mark.parametrize(("clauses", "params", "bound"), ACCEPTED)
def test_accepted(clauses: tuple[str, ...], params: str, bound: str) -> None:
    assert refused(attention(*clauses, f"bound {bound}", params=params)) == ()


@pytest.mark.parametrize(("clauses", "params", "bound", "term"), REFUSED)
def test_refused_with_the_missing_term(clauses: tuple[str, ...], params: str, bound: str, term: str) -> None:
    text = attention(*clauses, f"bound {bound}", params=params)
    (found,) = refused(text)
    assert found.code == codes.BOUND_EXCEEDED
    assert quoted(text, found) == f"bound {bound}"
    assert any(term in label.text for label in found.labels)
    assert term in found.reason


@pytest.mark.parametrize(("clauses", "params", "bound", "term"), REFUSED)
def test_the_fix_is_accepted_and_nothing_in_it_can_go(
    clauses: tuple[str, ...], params: str, bound: str, term: str
) -> None:
    (found,) = refused(attention(*clauses, f"bound {bound}", params=params))
    fixed = re.search(r"'O\((.*)\)'", found.fix)
    assert fixed is not None
    quantity, body = bound.split()[0], bound[bound.index("O(") + 2 : -1]
    added = fixed[1].removeprefix(f"{body} + ").split(" + ")
    assert term in added
    for kept in (added, *itertools.combinations(added, len(added) - 1)):
        weaker = " + ".join([body, *kept])
        accepted = refused(attention(*clauses, f"bound {quantity} <= O({weaker})", params=params)) == ()
        assert accepted == (list(kept) == added)


def test_the_blame_is_on_the_clause() -> None:
    text = attention(*SPARSE, "bound flops <= O(L * (k + recent) * H * D)", params=PARAMS)
    (found,) = refused(text)
    (label,) = found.labels
    assert text[label.span.start :].startswith("indexer {")
    assert label.text == "indexer: L^2 * J * dI"


@pytest.mark.parametrize(
    ("clauses", "params", "limit", "most"),
    [
        (SPARSE, PARAMS, "k", "k + recent = 2112"),
        (SPARSE, PARAMS, "2111", "k + recent = 2112"),
        (SPARSE, PARAMS, "min(L, k)", "k + recent = 2112"),
        (SPARSE, PARAMS, "L / 2", "k + recent = 2112"),
        (SPARSE, PARAMS, "L - 1", "k + recent = 2112"),
        (WINDOW, "(window = 1024, sinks = 4)", "window", "sinks + window = 1028"),
        ((), "", "4096", "every key"),
    ],
)
def test_selected_is_exact(clauses: tuple[str, ...], params: str, limit: str, most: str) -> None:
    (found,) = refused(attention(*clauses, f"bound selected <= {limit}", params=params))
    assert found.code == codes.SELECTED_EXCEEDED
    assert most in found.reason
    fixed = found.fix.removeprefix("write '").removesuffix("'")
    assert refused(attention(*clauses, fixed, params=params)) == ()


def test_a_bound_is_decided_for_the_parameters_as_bound() -> None:
    text = attention(*SPARSE, "bound selected <= 512", params=PARAMS)
    assert refused(text) != ()
    assert refused(text, k=448) == ()


@pytest.mark.parametrize(
    ("bound", "code"),
    [
        ("flops <= O(L * dmi)", codes.UNKNOWN_NAME),
        ("flops <= O(L^2 - L)", codes.BOUND_FORM),
        ("flops <= O(L / (L + 1))", codes.BOUND_FORM),
        ("flops <= O(L^D)", codes.BOUND_FORM),
        ("flops <= O(sigmoid(L))", codes.BOUND_FORM),
        ("flops <= L^2 * H * D", codes.BOUND_NEEDS_O),
    ],
)
def test_what_a_bound_may_say(bound: str, code: str) -> None:
    assert [d.code for d in refused(attention(f"bound {bound}"))] == [code]


def test_a_budget_without_a_formula_cannot_be_bounded() -> None:
    bound = "bound flops <= O(L^2 * J * dI * H * D)"
    text = attention(indexer(), "select top exp(rate) tokens", bound, params="(rate = 3)")
    assert [d.code for d in refused(text)] == [codes.BOUND_FORM]
    assert refused(text.replace("exp(rate)", "20")) == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_accepted_bound_holds_at_every_corner(path: Path) -> None:
    """Numbers, far out along every combination of axes: cost over bound stays below a constant."""
    spec = example(path)
    table, names = cost(spec), {**SHAPE, **parameters(spec)}
    for clause in spec.tree.clauses:
        if not isinstance(clause, ast.Bound) or not clause.asymptotic:
            continue
        # A fixed workspace is the constant of a memory bound; forced keys may be a few dozen beside a budget of one.
        constant = 2 * WORKSPACE if clause.quantity.id == "memory" else 1000
        ratio = sympy.sympify(getattr(table.total, clause.quantity.id) / written(clause.body, names))
        ratio = ratio.subs({SHAPE["B"]: 1, ITEMSIZE: 2, SHAPE["Dv"]: SHAPE["D"]})
        ratio = ratio.subs({SHAPE["H"]: SHAPE["Hkv"] * SHAPE["G"]})
        axes = sorted(ratio.free_symbols, key=str)
        compiled = sympy.lambdify(axes, ratio, "math")
        for corner in itertools.product((1, 10**6), repeat=len(axes)):
            assert compiled(*corner) < constant, (clause.quantity.id, dict(zip(axes, corner, strict=True)))


def test_growth_of_a_formula() -> None:
    length, heads, k = SHAPE["L"], SHAPE["H"], symbol("k")
    capped = minimum(k, length)
    formula = {"f": capped * length - capped * (capped - 1) / 2 + 7 * heads}

    def lacking(bound: Expr) -> set[str]:
        return {spell(monomial) for monomial in missing(formula, bound)}

    assert lacking(length * k + heads) == set()
    assert lacking(length**2 + heads) == set()
    assert lacking(heads) == {"L * k"}
    assert lacking(k**2 + heads) == {"L * k"}
    assert lacking(length**2) == {"H"}
