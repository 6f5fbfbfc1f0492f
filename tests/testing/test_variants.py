"""``gsa_dsl.testing`` as its users have it: a decorator, strategies, and specs of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import find, given, settings

import gsa_dsl
from gsa_dsl.testing import PATTERNS, Variant, cases, given_variant, small_params
from gsa_dsl.testing.draws import draws, patterns_for
from gsa_dsl.testing.specs import load_spec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
INDEXED = """attention indexed(k = 3) { causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] }
  select top k tokens }"""


@gsa_dsl.testing.given_variant(longest=20, max_examples=8)
def test_random_specs_compute_what_the_reference_says(variant: Variant) -> None:
    report = variant.verify()
    assert report.ok, f"{variant.text}\n{report}"


@given_variant(EXAMPLES / "gsa_small.gsa", longest=24, max_examples=4)
def test_a_spec_of_ones_own_with_what_it_extends(variant: Variant) -> None:
    assert "extends" not in variant.text
    assert variant.spec.selection is not None
    assert variant.spec.selection.most < 24
    x = variant.inputs()
    assert variant.shape.length <= 24
    output = variant.compile()(x.query, x.key, x.value, **x.keywords())
    assert output.shape == variant.reference(x).output.shape


def test_a_wrong_rewrite_is_found_and_shrunk() -> None:
    """Attention to every key is not attention to three: seen from the fourth position on, and not before."""

    def differs(variant: Variant) -> bool:
        x = variant.inputs(torch.float64)
        wrong = load_spec("attention dense { causal }")
        expected = variant.reference(x).output
        found = gsa_dsl.testing.variants.reference(wrong, x.query, x.key, x.value).output
        return not torch.allclose(found, expected)

    found = find(cases(INDEXED, longest=24), differs, settings=settings(max_examples=200, derandomize=True))
    assert 4 <= found.shape.length <= 15
    assert found.values.pattern == "normal"
    assert (found.shape.batch, found.shape.heads) == (1, 1)


def test_every_kind_of_values_is_drawn() -> None:
    seen: set[str] = set()
    layouts: set[bool] = set()

    @settings(max_examples=120, derandomize=True, deadline=None)
    @given(variant=cases(INDEXED, longest=8))
    def collect(variant: Variant) -> None:
        seen.add(variant.values.pattern)
        layouts.add(variant.values.strided)

    collect()
    assert seen == set(PATTERNS)
    assert layouts == {True, False}


def test_strided_values_are_the_same_numbers() -> None:
    variant = find(cases(INDEXED, longest=8), lambda v: v.values.strided and v.shape.length > 2)
    x = variant.inputs()
    assert not x.query.is_contiguous()
    plain = Variant(
        variant.text, variant.shape, gsa_dsl.testing.Values(variant.values.pattern, variant.values.seed, False)
    )
    torch.testing.assert_close(x.query, plain.inputs().query, rtol=0, atol=0, equal_nan=True)


def test_draws_repeat_and_follow_the_seed() -> None:
    spec = load_spec(INDEXED)
    some = list(draws(spec, 30, seed=5, longest=40))
    assert some == list(draws(spec, 30, seed=5, longest=40))
    assert some != list(draws(spec, 30, seed=6, longest=40))
    assert max(draw.length for draw in some) <= 40
    assert len({draw.pattern for draw in some}) > 4


def test_patterns_without_an_effect_are_left_out() -> None:
    assert set(patterns_for(load_spec("attention dense { causal }"))) == {"normal", "hot_key", "large", "tiny"}
    assert patterns_for(load_spec(INDEXED)) == PATTERNS
    own = INDEXED.replace("heads 1  dim 16  keys shared", "keys attention").replace("tokens", "tokens per kv_head")
    assert not {"nan", "infinite"} & set(patterns_for(load_spec(own)))


def test_small_parameters_are_the_public_ones() -> None:
    assert small_params(load_spec(INDEXED)) == {"k": 3}


def test_small_parameters_respect_what_is_not_a_parameter() -> None:
    budget = "budget[t] = clamp(k * (1 + mean(score[t])), 16, most)\n  select top budget tokens"
    text = INDEXED.replace("k = 3", "k = 96, most = 192").replace("select top k tokens", budget)
    small = small_params(load_spec(text))
    assert 16 <= small["most"] <= 24, small
    assert small["k"] < small["most"]
    fixed = text.replace("16, most", "192, most")  # no other value will do
    assert small_params(load_spec(fixed))["most"] == 192


def test_hypothesis_is_needed_for_strategies_alone() -> None:
    code = "import sys, gsa_dsl.testing as t; t.make_inputs, t.small_tiles; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'given_variants'"):
        gsa_dsl.testing.given_variants  # noqa: B018
