"""Guesses at misspelt words."""

from __future__ import annotations

import pytest

from gsa_dsl.diagnostics.codes import CODES, SYNTAX
from gsa_dsl.diagnostics.semantic_codes import SEMANTIC
from gsa_dsl.diagnostics.suggest import closest, did_you_mean

WORDS = ("sigmoid", "sqrt", "softplus", "relu", "Hkv")


@pytest.mark.parametrize(
    ("word", "meant"), [("sigmod", "sigmoid"), ("SQRT", "sqrt"), ("hkv", "Hkv"), ("rleu", "relu"), ("banana", None)]
)
def test_closest(word: str, meant: str | None) -> None:
    assert closest(word, WORDS) == meant


def test_the_guess_does_not_depend_on_the_order() -> None:
    assert closest("ab", ("aa", "bb")) == closest("ab", ("bb", "aa"))


def test_did_you_mean() -> None:
    assert did_you_mean("sigmod", WORDS) == "did you mean 'sigmoid'?"
    assert did_you_mean("banana", WORDS) == ""


def test_codes_are_distinct_and_in_their_range() -> None:
    assert not set(SYNTAX) & set(SEMANTIC)
    assert all("GSA001" <= code <= "GSA019" for code in SYNTAX)
    assert all("GSA020" <= code <= "GSA199" for code in SEMANTIC)
    assert len(set(CODES.values())) == len(CODES)
