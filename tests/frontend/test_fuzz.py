"""Whatever the text, the answer is a tree or a SpecError that can be shown."""

from __future__ import annotations

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gsa_dsl.diagnostics.codes import CODES, SYNTAX
from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.render import render, to_json
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.format import format_source
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema.check import check
from gsa_dsl.testing.strategies import specs
from tests.frontend.specs import EVERY_CLAUSE, EXAMPLES

SPECS = [EVERY_CLAUSE, *(path.read_text(encoding="utf-8") for path in EXAMPLES)]
TOKENS = re.compile(r"\s+|\w+|.", re.DOTALL)
PIECES = sorted({token for text in SPECS for token in TOKENS.findall(text)})


def answered(text: str) -> tuple[str, ...]:
    """The codes of the mistakes in ``text``; fails on any answer other than a tree or complete diagnostics."""
    source, diagnostics = Source("fuzz.gsa", text), None
    try:
        tree = parse(source)
    except SpecError as error:
        diagnostics = error.diagnostics
    if diagnostics is None:
        assert isinstance(tree, ast.Spec)
        return ()
    assert diagnostics
    for diagnostic in diagnostics:
        span = diagnostic.span
        assert diagnostic.code in SYNTAX
        assert 0 <= span.start <= span.end <= len(text)
        assert f"fuzz.gsa:{span.line}:{span.column}" in render(source, diagnostic, color=True)
        assert to_json(source, diagnostic)["code"] == diagnostic.code
    return tuple(diagnostic.code for diagnostic in diagnostics)


@settings(deadline=2000, max_examples=150)
@given(st.text())
def test_any_text(text: str) -> None:
    answered(text)


@settings(deadline=2000, max_examples=150)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_tokens(body: str) -> None:
    answered(body)
    answered(f"attention a {{ causal\n {body}\n}}")


@settings(deadline=2000, max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    answered(data.decode("utf-8", "replace"))
    answered(data.decode("latin-1"))


@settings(deadline=2000, max_examples=250)
@given(st.sampled_from(SPECS), st.integers(min_value=1, max_value=6), st.randoms(use_true_random=False))
def test_mutated_specs(text: str, edits: int, chance: random.Random) -> None:
    tokens = TOKENS.findall(text)
    for _ in range(edits):
        position = chance.randrange(len(tokens))
        tokens[position : position + chance.randrange(3)] = [chance.choice(PIECES) for _ in range(chance.randrange(3))]
    answered("".join(tokens))


@settings(deadline=2000, max_examples=100)
@given(st.sampled_from(SPECS), st.data())
def test_cut_specs(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(min_value=0, max_value=len(text)))
    codes = answered(text[:cut])
    if text[:cut].rstrip() != text.rstrip():
        # A word cut short is a second mistake.
        assert 1 <= len(codes) <= 2


@settings(deadline=2000, max_examples=150)
@given(st.sampled_from(SPECS), st.data())
def test_one_stray_sign_is_one_mistake(text: str, data: st.DataObject) -> None:
    ends = [
        match.end() for match in re.finditer(r"\S(?=\s)", text) if "#" not in text[: match.end()].rsplit("\n", 1)[-1]
    ]
    position = data.draw(st.sampled_from(ends))
    assert answered(f"{text[:position]} ? {text[position:]}") in (("GSA009",), ("GSA012",), ("GSA016",))


@settings(deadline=None, max_examples=120)
@given(specs(), st.integers(min_value=0, max_value=4), st.randoms(use_true_random=False))
def test_mutated_good_specs_through_the_checker(text: str, edits: int, chance: random.Random) -> None:
    tokens = TOKENS.findall(text)
    for _ in range(edits):
        position = chance.randrange(len(tokens))
        tokens[position : position + chance.randrange(2)] = [chance.choice(PIECES) for _ in range(chance.randrange(2))]
    source, found = Source("fuzz.gsa", "".join(tokens)), None
    try:
        check(parse(source))
        neat = format_source(source)
    except SpecError as error:
        found = error
    if found is None:
        assert check(parse(Source("fuzz.gsa", neat))).name
    else:
        assert {diagnostic.code for diagnostic in found.diagnostics} <= set(CODES)
        assert "fuzz.gsa:" in str(found)
