"""The checker as a whole: the examples, the clauses together, parameters, promises about ranges."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Hashable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from gsa_dsl.diagnostics import Source, Span, SpecError
from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.lsp.document import analyse
from gsa_dsl.sema.check import check, parse_and_check
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.typed import CheckedSpec, Const, Forced
from tests.sema.specs import EXAMPLES, attention, checked, example, indexer, quoted, refused, with_budget

GSA = next(path for path in EXAMPLES if path.stem == "gsa")


def meaning(value: object) -> Hashable:
    """A checked spec without what only names or places things."""
    if isinstance(value, Const):
        value = replace(value, name="")
    if isinstance(value, CheckedSpec):
        said = ("causal", "documents", "scale", "logit", "sink", "gates")
        names = (*said, "indexer", "selection", "forced", "train", "emas")
        return tuple(meaning(getattr(value, name)) for name in names)
    if is_dataclass(value) and not isinstance(value, type):
        parts = (meaning(getattr(value, field.name)) for field in fields(value))
        return (type(value).__name__, *parts) if not isinstance(value, Span) else "span"
    if isinstance(value, tuple):
        return tuple(meaning(item) for item in value)
    assert isinstance(value, Hashable)
    return value


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted(path: Path) -> None:
    spec = example(path)
    assert spec.name == path.stem
    assert spec.causal


def test_gsa() -> None:
    spec = checked(GSA.read_text(), k_max=512)
    assert spec.params == (("k_base", 2048), ("k_min", 256), ("k_max", 512))
    assert spec.indexer is not None
    assert (spec.indexer.heads, spec.indexer.dim, spec.indexer.tensors) == (4, 64, ("q", "k", "w", "b"))
    assert spec.selection is not None
    assert spec.selection.adaptive
    assert spec.selection.budget.range == Interval(256.0, 512.0)
    assert spec.selection.most == 512
    assert spec.forced == Forced(0, 0, None)
    assert spec.train is not None
    assert (spec.train.method, spec.train.temperature) == ("kl", 1.0)
    assert len(spec.emas) == 1


def test_a_spec_says_what_a_query_sees() -> None:
    kinds = {
        "causal": (True, False),
        "full": (False, False),
        "causal documents": (True, True),
        "documents full": (False, True),
    }
    for kind, expected in kinds.items():
        spec = checked(f"attention a {{ {kind} }}")
        assert (spec.causal, spec.documents) == expected


def test_forced_keys_of_full_attention_lie_on_both_sides() -> None:
    spec = checked("attention a(w = 5) { full  always first 2, last w  bound selected <= 2 * w + 1 }")
    assert spec.forced.most(causal=True) == 7
    assert spec.forced.most(causal=spec.causal) == 11
    assert checked("attention a { full  always first 2 }").forced.most(causal=False) == 2


def test_sliding_sink_has_forced_keys_only() -> None:
    spec = checked(next(path for path in EXAMPLES if path.stem == "sliding_sink").read_text(), window=16)
    assert (spec.forced.first, spec.forced.last) == (4, 16)
    assert spec.selection is None
    assert spec.indexer is None


def test_renaming_a_parameter_changes_only_its_name() -> None:
    text = GSA.read_text()
    renamed = checked(text.replace("k_max", "ceiling"), ceiling=512)
    assert renamed.params == (("k_base", 2048), ("k_min", 256), ("ceiling", 512))
    assert meaning(renamed) == meaning(checked(text, k_max=512))


def test_meaning_can_tell_two_specs_apart() -> None:
    text = GSA.read_text()
    assert meaning(checked(text)) != meaning(checked(text, k_max=512))
    assert meaning(checked(text)) != meaning(checked(text.replace("+ 0.5", "- 0.5")))


def test_the_order_of_clauses_means_nothing() -> None:
    clauses = (
        indexer(),
        "budget[t] = clamp(64 * ema(var(score[t])), 8, 64)",
        "select top budget tokens",
        "always last 4",
        "train indexer with kl(temperature = 0.5)",
    )
    meanings = {meaning(checked(attention(*order))) for order in itertools.permutations(clauses)}
    assert len(meanings) == 1


def test_several_mistakes_come_in_one_run_in_the_order_of_the_text() -> None:
    text = attention(
        "gate outptu = sigmoid(linear(x)) per element",
        "indexer { heads 0 dim 64 keys shared score[t, s] = sum(j) q[s, j] . k[s] }",
        "select top budget tokens",
        "always last 0.5",
        "scale dim",
        params="(k = 4, k = 5)",
    )
    assert [d.code for d in refused(text)] == [
        codes.DUPLICATE_PARAMETER,
        codes.UNKNOWN_WORD,
        codes.BAD_SIZE,
        codes.SIGNATURE,
        codes.MISSING_BUDGET,
        codes.BAD_SIZE,
        codes.NOT_VISIBLE,
    ]


@pytest.mark.parametrize(
    ("clauses", "code"),
    [
        (("causal",), codes.DUPLICATE_CLAUSE),
        (("budget[t] = 4",), codes.UNUSED_BUDGET),
        ((indexer(), "budget[t] = 4", "select top 8 tokens"), codes.UNUSED_BUDGET),
        ((indexer(), "select top budget tokens"), codes.MISSING_BUDGET),
        (("select top 8 tokens",), codes.MISSING_INDEXER),
        (("train indexer with kl",), codes.MISSING_INDEXER),
        ((indexer(),), codes.UNUSED_INDEXER),
        (("indexer { heads 4 dim 64 keys shared }", "select top 8 tokens"), codes.MISSING_SETTING),
        ((indexer(heads="2.5"), "select top 8 tokens"), codes.BAD_SIZE),
        ((indexer(dim="-4"), "select top 8 tokens"), codes.BAD_SIZE),
        (("always last 2^31",), codes.BAD_SIZE),
        ((indexer(), "select top 2^31 tokens"), codes.BAD_SIZE),
        (("scale 1 / (head_dim - 64)",), codes.DOMAIN),
        (("always first 1, first 2",), codes.DUPLICATE_CLAUSE),
        (("always last 0",), codes.NOTHING_FORCED),
        (("gate output = sigmoid(1) per element",), codes.GATE_INPUT),
        ((indexer(), "select top 8 blocks by max"), codes.WRONG_ARITY),
        ((indexer(), "select top 8 tokens(64)"), codes.WRONG_ARITY),
        ((indexer(), "select top 8 blocks(64)"), codes.MISSING_BY),
        ((indexer(), "select top 8 blocks(96) by max"), codes.BAD_UNIT),
        ((indexer(), "select top 8 blocks(8192) by max"), codes.BAD_UNIT),
        ((indexer(), "select top 8 tokens per queries(1)"), codes.BAD_UNIT),
        ((indexer(), "select top 8 tokens per queries(2.5)"), codes.BAD_UNIT),
        ((indexer(), "select top 8 tokens by max"), codes.IDLE_BY),
        ((indexer(), "select top 8 blocks(64) by max", "always last 2, diagonal"), codes.DUPLICATE_CLAUSE),
        ((indexer(), "select top 8 tokens", "always diagonal"), codes.DIAGONAL_OF_TOKENS),
        (("always diagonal",), codes.DIAGONAL_OF_TOKENS),
        ((indexer(), "select top 8 tokens per kv_head per queries(8)", "documents"), codes.SHARED_DOCUMENTS),
        ((indexer(keys="per kv_head"), "select top 8 tokens"), codes.UNSHARED_KEYS),
        ((indexer(keys="shared pool max"), "select top 8 tokens"), codes.POOL_OF_TOKENS),
        ((indexer(keys="shared pool max"), "select top 8 blocks(64)"), codes.OWN_BLOCK),
        ((indexer(keys="shared pool max"), "select top 8 blocks(64)", "always first 1, last 0"), codes.OWN_BLOCK),
        ((indexer(), "select top 0.5 tokens"), codes.EMPTY_BUDGET),
        ((indexer(), "select top 0 - 1 tokens"), codes.NEGATIVE_BUDGET),
        ((indexer(), "select top count(score[t]) tokens"), codes.VARYING_COUNT),
        ((indexer(), "budget[t] = count(score[t])", "select top budget tokens"), codes.UNBOUNDED_BUDGET),
        ((indexer(), "budget[s] = 4", "select top budget tokens"), codes.CLAUSE_HEAD),
        ((indexer(), "select top 8 tokens", "train indexer with kl(temperature = 0)"), codes.BAD_KEYWORD),
    ],
)
def test_clauses_that_do_not_fit(clauses: tuple[str, ...], code: str) -> None:
    assert [d.code for d in refused(attention(*clauses))] == [code]


def test_a_spec_must_say_what_a_query_sees_and_once() -> None:
    (found,) = refused("attention a { documents }")
    assert (found.code, found.fix) == (codes.MISSING_CAUSAL, "add 'causal', or 'full' for attention that looks ahead")
    (found,) = refused("attention a { causal full }")
    assert (found.code, found.span.column) == (codes.CAUSAL_AND_FULL, 22)
    assert [found.code for found in refused("attention a { full full }")] == [codes.DUPLICATE_CLAUSE]


def test_forced_keys_make_a_budget_below_one_useful() -> None:
    assert refused(attention(indexer(), "select top 0.5 tokens", "always last 4")) == ()


def test_a_constant_budget_is_rounded_down() -> None:
    spec = checked(attention(indexer(), "select top 7.9 tokens"))
    assert spec.selection is not None
    assert spec.selection.most == 7


@pytest.mark.parametrize(
    ("params", "code", "word"),
    [
        ({"k_mx": 512}, codes.UNKNOWN_PARAMETER, "did you mean 'k_max'?"),
        ({"K": 512}, codes.UNKNOWN_PARAMETER, "leave it out"),
        ({"k_max": "512"}, codes.PARAMETER_VALUE, "finite"),
        ({"k_max": True}, codes.PARAMETER_VALUE, "finite"),
        ({"k_max": None}, codes.PARAMETER_VALUE, "finite"),
        ({"k_max": math.nan}, codes.PARAMETER_VALUE, "finite"),
        ({"k_max": math.inf}, codes.PARAMETER_VALUE, "finite"),
        ({"k_max": 100}, codes.CROSSED_CLAMP, "swap"),
    ],
)
def test_wrong_parameters(params: dict[str, int], code: str, word: str) -> None:
    (found,) = refused(with_budget("clamp(k_base, k_min, k_max)"), **params)
    assert found.code == code
    assert word in found.fix


def test_an_unknown_value_causes_no_further_mistakes() -> None:
    text = with_budget("clamp(k_base, k_min, k_max)", params="(k_base = 8, k_min = 256, k_max = 2 * k_mn)")
    assert [(d.code, d.fix) for d in refused(text)] == [(codes.UNKNOWN_NAME, "did you mean 'k_min'?")]


@pytest.mark.parametrize("name", ["L", "J", "Hkv", "sigmoid", "ema", "sum", "inf", "dim", "heads", "config", "budget"])
def test_reserved_names(name: str) -> None:
    assert [d.code for d in refused(attention(params=f"({name} = 1)"))] == [codes.RESERVED_NAME]


@pytest.mark.parametrize(
    "promise",
    ["score in (0, J)", "score in [0, 4]", "score in (-inf, inf)", "budget in [k_min, k_max]", "score in (-dI, dI)"],
)
def test_assertions_that_hold(promise: str) -> None:
    assert refused(with_budget("clamp(k_base * var(score[t]), k_min, k_max)", f"assert {promise}")) == ()


@pytest.mark.parametrize(
    ("promise", "code", "derived", "origin"),
    [
        ("score in (0, 3)", codes.ASSERT_UNPROVED, "(0, 4)", "sigmoid(w[t, j]) * sigmoid"),
        ("score in [0.1, J)", codes.ASSERT_UNPROVED, "(0, 4)", "sigmoid(w[t, j]) * sigmoid"),
        ("budget in [k_min, k_max)", codes.ASSERT_UNPROVED, "[256, 4096]", "k_base * var(score[t])"),
        ("budget in (k_min, k_max]", codes.ASSERT_UNPROVED, "[256, 4096]", "k_base * var(score[t])"),
        ("score in (4, 0)", codes.EMPTY_INTERVAL, "from 4 to 0", None),
        ("score in [1, 1)", codes.EMPTY_INTERVAL, "from 1 to 1", None),
    ],
)
def test_assertions_that_do_not(promise: str, code: str, derived: str, origin: str | None) -> None:
    text = with_budget("clamp(k_base * var(score[t]), k_min, k_max)", f"assert {promise}")
    (found,) = refused(text)
    assert found.code == code
    assert derived in found.reason
    if origin is not None:
        assert text[found.labels[0].span.start :].startswith(origin)


def test_an_unbounded_score_names_where_it_comes_from() -> None:
    score = "sum(j) sigmoid(w[t, j]) * relu(q[t, j] . k[s])"
    text = attention(indexer(score), "select top 8 tokens", "assert score in (0, 9)")
    (found,) = refused(text)
    span = found.labels[0].span
    assert text[span.start : span.end] == "q[t, j] . k[s]"


def test_nothing_to_assert_about() -> None:
    assert [d.code for d in refused(attention("assert score in (0, 1)"))] == [codes.ASSERT_SUBJECT]


def test_words_that_a_hand_made_tree_may_hold() -> None:
    text = attention(indexer(), "select top 8 tokens")
    spec = checked(text)
    clauses = tuple(
        replace(c, unit=replace(c.unit, id="tokns")) if isinstance(c, ast.Select) else c for c in spec.tree.clauses
    )
    with pytest.raises(SpecError) as error:
        check(replace(spec.tree, clauses=clauses))
    (found,) = error.value.diagnostics
    assert (found.code, found.fix, quoted(text, found)) == (codes.UNKNOWN_WORD, "did you mean 'tokens'?", "tokens")


def test_a_check_does_not_wait_for_sympy() -> None:
    program = """
import sys
from gsa_dsl.diagnostics import Source
from gsa_dsl.frontend.parser import parse
from gsa_dsl.lsp.document import analyse
from gsa_dsl.sema.check import check, parse_and_check
tree = parse(Source("a.gsa", "attention a { causal bound flops <= O(L^2 * H * D) }"))
check(tree)
assert "sympy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=GSA.parents[1])


SLIPS = """attention slips(k = 8, block = 48) {
  causal
  gate output = sigmod(linear(x)) per heads
  indexer { heads 4  dim 64  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) }
  select top k blocks(block) by max
}"""


def test_slips_of_syntax_do_not_hide_what_else_is_wrong() -> None:
    with pytest.raises(SpecError) as caught:
        parse_and_check(Source("slips.gsa", SLIPS))
    assert [found.code for found in caught.value.diagnostics] == ["GSA021", "GSA014", "GSA144"]
    assert [found.fix for found in caught.value.diagnostics][:2] == ["did you mean 'sigmoid'?", "did you mean 'head'?"]
    in_an_editor = analyse(Source("slips.gsa", SLIPS))
    assert in_an_editor.diagnostics == (*caught.value.diagnostics[1:2], *caught.value.diagnostics[::2])
    assert (in_an_editor.tree, in_an_editor.spec) == (None, None)


def test_where_the_intent_is_not_plain_only_syntax_is_told() -> None:
    text = SLIPS.replace("per heads", "per per per (")
    with pytest.raises(SpecError) as caught:
        parse_and_check(Source("slips.gsa", text))
    assert {found.code for found in caught.value.diagnostics} <= {"GSA002", "GSA004", "GSA005", "GSA014", "GSA015"}


def test_slips_alone_are_told_alone() -> None:
    text = SLIPS.replace("sigmod", "sigmoid").replace("48", "32")
    with pytest.raises(SpecError) as caught:
        parse_and_check(Source("slips.gsa", text))
    assert [found.code for found in caught.value.diagnostics] == ["GSA014"]
    assert parse_and_check(Source("slips.gsa", text.replace("per heads", "per head"))).name == "slips"
