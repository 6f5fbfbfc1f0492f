"""What hover, completion and definition answer, by a mark in a text: ``@`` is the cursor."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.words import CLAUSES, SETTINGS
from gsa_dsl.lsp import places
from gsa_dsl.lsp.completion import CONTEXTS, Completion, completions
from gsa_dsl.lsp.definition import definition
from gsa_dsl.lsp.document import analyse
from gsa_dsl.lsp.hover import Hover, hover
from gsa_dsl.lsp.words import LOGIT_DOCS, TENSOR_DOCS, clause_docs, function_docs
from gsa_dsl.sema.contexts import PAIR, TENSORS, logit_context
from gsa_dsl.sema.interval import REALS
from gsa_dsl.sema.names import CALLABLE, SHAPE_SYMBOLS

SPEC = """\
attention a(k = 64, low = 8) {  # about k
  causal
  scale 1 / sqrt(head_dim)
  gate output = sigmoid(linear(x) + 0.5)  per head
  indexer {
    heads 4  dim 64  keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])
  }
  budget[t] = clamp(k * ema(var(score[t])) / var(score[t]), low, k)
  select top budget tokens
  always last low
  train indexer with kl
  bound selected <= k + low
  assert score in (0, J)
}
"""


def marked(snippet: str) -> tuple[Source, int]:
    """SPEC and the offset of the cursor in it: ``snippet`` is a piece of SPEC with ``@`` at the cursor."""
    plain = snippet.replace("@", "")
    assert SPEC.count(plain) == 1, plain
    return Source("a.gsa", SPEC), SPEC.index(plain) + snippet.index("@")


def hovered(snippet: str) -> Hover | None:
    source, offset = marked(snippet)
    return hover(analyse(source), offset)


@pytest.mark.parametrize(
    ("snippet", "under", "says"),
    [
        ("sig@moid(w[t, j])", "sigmoid(w[t, j])", ["range `(0, 1)`", "`t` (the query's position), `j`", "exp(-x)"]),
        ("w@[t, j]", "w[t, j]", ["range `(-inf, inf)`", "the weight of the indexer's head j"]),
        ("q[t, j] @. k[s]", "q[t, j] . k[s]", ["`t` (the query's position), `s` (the key's position)"]),
        ("s@um(j) sig", None, ["range `(0, 4)`", "the sum over the indexer's heads"]),
        ("cla@mp(k *", None, ["range `[8, 64]`", "clamp(x, low, high)", "varies with `t`"]),
        ("em@a(var", "ema(var(score[t]))", ["a constant", "running mean"]),
        ("/ va@r(score", "var(score[t])", ["range `[0, 4)`", "variance of the row's scores"]),
        ("clamp(@k *", "k", ["a constant", "value `64`", "parameter `k`, by default `64`"]),
        ("k = 64, lo@w", "low", ["parameter `low`, by default `8`"]),
        ("sqrt(head@_dim)", "head_dim", ["range `[1, inf)`"]),
        ("li@near(x)", "linear(x)", ["varies with `t` (the query's position), `h` (the query head)", "linear map"]),
        ("cau@sal", "causal", ["position t attends to s <= t"]),
        ("ind@exer {", None, ["score[t, s] = ...", "| indexer | flops |"]),
        ("sc@ore[t, s]", None, ["`score[t, s] = EXPR`"]),
        ("tra@in", "train indexer with kl", ["train indexer with kl", "Cost at L = 32,768"]),
    ],
)
def test_hover(snippet: str, under: str | None, says: list[str]) -> None:
    found = hovered(snippet)
    assert found is not None
    if under is not None:
        assert SPEC[found.span.start : found.span.end] == under
    for words in says:
        assert words in found.markdown


@pytest.mark.parametrize("snippet", ["about @k", "per hea@d"])
def test_no_hover_where_there_is_nothing_to_say(snippet: str) -> None:
    assert hovered(snippet) is None
    assert hover(analyse(Source("a.gsa", SPEC)), len(SPEC)) is None


def test_hover_in_a_logit_tells_of_the_attentions_own() -> None:
    text = "attention a { causal logit[t, s] = q[t] . k[s] - slope[h] * distance }"
    for word, says in {"q": "the attention's query", "slope": "ALiBi", "distance": "t - s"}.items():
        found = hover(analyse(Source("a.gsa", text)), text.index(f"{word}", text.index("=")))
        assert found is not None
        assert says in found.markdown


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("blocks", "blocks of B keys"),
        ("by", "score is made of"),
        ("kv_head per", "each kv head for itself"),
        ("queries", "share the choice"),
        ("diagonal", "the query lies in"),
        ("attention pool", "the attention's own query and key"),
        ("dim)", "range `[1, inf)`"),
    ],
)
def test_hover_over_the_words_of_a_choice(word: str, says: str) -> None:
    own = "indexer { keys attention pool max score[t, s] = sum(j) q[t, j] . k[s] / sqrt(dim) }"
    text = f"attention a {{ causal {own} select top 3 blocks(64) by max per kv_head per queries(8) always diagonal }}"
    good = text.replace("by max ", "")
    text = text if word == "by" else good
    found = hover(analyse(Source("a.gsa", text)), text.index(word))
    assert found is not None
    assert says in found.markdown


def test_hover_in_a_wrong_spec_still_knows_the_words() -> None:
    text = "attention a { causal gate output = sigmoid(linear(x)) + lenght per head }"
    found = hover(analyse(Source("a", text)), text.index("moid"))
    assert found is not None
    assert "exp(-x)" in found.markdown
    assert "range" not in found.markdown
    assert hover(analyse(Source("a", "attention a {")), 3) is None


@pytest.mark.parametrize(
    ("snippet", "wanted"),
    [
        ("clamp(@k *", "k = 64"),
        ("low, @k)", "k = 64"),
        ("last lo@w", "low = 8"),
        ("top bud@get", "budget[t]"),
        ("var(sco@re[t]))", "score[t, s]"),
        ("assert sco@re", "score[t, s]"),
        ("sqrt(di@m)", "dim 64"),
        ("(0, @J)", "heads 4"),
    ],
)
def test_definition(snippet: str, wanted: str) -> None:
    source, offset = marked(snippet)
    span = definition(analyse(source), offset)
    assert span is not None
    assert SPEC[span.start :].startswith(wanted)


@pytest.mark.parametrize(
    "snippet", ["q[t, j] . @k[s]", "cau@sal", "sig@moid(w", "about @k", "per hea@d", "top@ budget"]
)
def test_no_definition(snippet: str) -> None:
    source, offset = marked(snippet)
    assert definition(analyse(source), offset) is None


def offered(text: str, kind: str | None = None) -> dict[str, Completion]:
    found = completions(Source("a.gsa", text), len(text))
    return {item.label: item for item in found if kind in (None, item.kind)}


HEAD = "attention a(k = 64, low = 8) {\n  causal\n"


@pytest.mark.parametrize(
    ("text", "has", "lacks"),
    [
        ("", ["attention"], ["causal"]),
        (HEAD, list(CLAUSES), ["heads", "k"]),
        (HEAD + "  ga", ["gate"], ["k"]),
        (HEAD + "  indexer { ", list(SETTINGS), ["gate"]),
        (HEAD + "  indexer { heads 4 keys ", ["shared", "attention", "per"], ["dim"]),
        (HEAD + "  indexer { keys per ", ["kv_head"], ["queries", "head"]),
        (HEAD + "  indexer { pool ", ["mean", "max"], ["sum"]),
        (HEAD + "  gate ", ["value", "output"], ["element", "k"]),
        (HEAD + "  gate output = ", ["linear", "sigmoid", "k", "low"], ["var", "w", "head_dim", "L"]),
        (HEAD + "  gate output = sigmoid(lin", ["linear"], ["ema"]),
        (HEAD + "  gate output = linear(x) ", ["per"], ["element"]),
        (HEAD + "  gate output = linear(x) per ", ["element", "head"], ["per"]),
        (HEAD + "  scale ", ["head_dim", "k", "sqrt"], ["linear"]),
        (
            HEAD + "  logit[t, s] = ",
            ["q", "k", "distance", "slope", "bias", "score", "heads", "low"],
            ["w", "var", "dim"],
        ),
        (HEAD + "  logit[t, s] = bias[h, min(", ["distance", "low"], ["w", "linear"]),
        (HEAD + "  indexer { score[t, s] = ", ["q", "k", "w", "b", "sum", "dim", "low"], ["var", "linear"]),
        (HEAD + "  budget[t] = clamp(", ["var", "count", "ema", "k"], ["w", "linear", "heads"]),
        (HEAD + "  budget[t] = ema(var(score[t]), ", ["decay", "init"], []),
        (HEAD + "  budget[", ["t"], ["k"]),
        (HEAD + "  select ", ["top"], []),
        (HEAD + "  select top ", ["budget", "k"], ["var"]),
        (HEAD + "  select top k ", ["tokens", "blocks"], []),
        (HEAD + "  select top k blocks(", ["k"], ["var", "by"]),
        (HEAD + "  select top k blocks(64) ", ["by", "per", "always"], ["kv_head"]),
        (HEAD + "  select top k blocks(64) by ", ["max", "mean", "sum"], ["per"]),
        (HEAD + "  select top k blocks(64) per ", ["kv_head", "queries"], ["head"]),
        (HEAD + "  always ", ["first", "last", "diagonal"], []),
        (HEAD + "  train ", ["indexer"], []),
        (HEAD + "  train indexer with ", ["kl"], []),
        (HEAD + "  train indexer with kl(", ["temperature"], ["decay"]),
        (HEAD + "  bound ", ["flops", "selected"], []),
        (HEAD + "  bound flops <= O(", [*SHAPE_SYMBOLS, "k"], ["linear"]),
        (HEAD + "  assert ", ["score", "budget"], []),
        (HEAD + "  assert score ", ["in"], []),
        (HEAD + "  assert score in (", ["inf", "J", "k"], ["linear"]),
        (HEAD + "  gate value = sigmod(", ["linear"], []),
        (HEAD + "  frobnicate 3\n  gate output = ", ["linear", "low"], []),
        (HEAD + "  # gate ", [], ["value"]),
        (HEAD + "}\n", [], ["causal", "attention"]),
    ],
)
def test_completion(text: str, has: list[str], lacks: list[str]) -> None:
    found = offered(text)
    assert set(has) <= set(found)
    assert not set(lacks) & set(found)
    if not has:
        assert found == {}


def test_what_is_inserted_can_be_gone_on_with() -> None:
    found = offered(HEAD + "  indexer { score[t, s] = ")
    assert found["w"].insert == "w[t, j]"
    assert found["sum"].insert == "sum(j) "
    assert found["sigmoid"].insert == "sigmoid("
    assert offered(HEAD + "  logit[t, s] = ")["slope"].insert == "slope[h]"
    assert offered(HEAD + "  budget[t] = ")["var"].insert == "var(score[t])"


def test_every_name_offered_is_accepted() -> None:
    for clause, end in (("gate output = linear(x) + ", " per head"), ("scale ", ""), ("budget[t] = ", "")):
        for item in offered(HEAD + f"  {clause}").values():
            closed = {"clamp(": "1, 1, 1)", "where(": "1 > 0, 1, 1)", "min(": "1, 1)", "max(": "1, 1)", "ema(": "1)"}
            written = item.insert + closed.get(item.insert, "1)" if item.insert.endswith("(") else "")
            document = analyse(Source("a", HEAD + f"  {clause}{written}{end}\n}}\n"))
            codes = {diagnostic.code for diagnostic in document.diagnostics}
            assert not codes & {"GSA020", "GSA021", "GSA022", "GSA024", "GSA034"}, written


def test_every_word_is_explained() -> None:
    assert all(function_docs(name) for name in CALLABLE)
    assert function_docs("lenght") == []
    assert set(TENSORS) <= set(TENSOR_DOCS)
    assert {*PAIR, *logit_context({}, REALS).readable, "bias"} == set(LOGIT_DOCS)
    for kind in get_args(ast.Clause):
        assert len(kind.__doc__ or "") > 20
    assert "```gsa\nscale" in clause_docs(ast.Scale(None, None))  # type: ignore[arg-type]


def test_every_clause_with_an_expression_says_what_it_sees() -> None:
    silent = {"causal", "full", "documents", "sink", "indexer", "keys", "pool", "without"}
    assert {*CLAUSES, *SETTINGS} - set(CONTEXTS) <= silent


@given(st.text(alphabet="aé🙂\n#", max_size=30), st.data(), st.sampled_from(sorted(places.UNITS)))
def test_places_and_offsets_are_inverses(text: str, data: st.DataObject, encoding: str) -> None:
    offset = data.draw(st.integers(0, len(text)))
    line, column = places.place(text, offset, encoding)
    assert line == text.count("\n", 0, offset)
    assert places.offset(text, (line, column), encoding) == offset


def test_places_past_an_end() -> None:
    assert places.offset("ab\r\ncd", (0, 9)) == 2
    assert places.offset("ab\r\ncd", (7, 0)) == 6
    assert places.place("🙂a", 1) == (0, 2)
    assert places.place("🙂a", 1, "utf-8") == (0, 4)


BASE = "attention base(k = 4) {\n  causal\n  gate value = sigmoid(linear(x)) per head\n  always last k\n}\n"


def test_a_spec_that_extends_another_is_checked_with_it(tmp_path: Path) -> None:
    (tmp_path / "base.gsa").write_text(BASE)
    source = Source(str(tmp_path / "a.gsa"), "attention a extends base {\n  scale 2\n}\n")
    document = analyse(source, tmp_path)
    assert document.spec is not None
    assert document.spec.forced.last == 4
    found = hover(document, source.text.index("2"))
    assert found is not None
    assert "a constant" in found.markdown
    assert [each.code for each in analyse(source).diagnostics] == ["GSA140"]


def test_mistakes_of_a_base_are_told_where_it_is_extended(tmp_path: Path) -> None:
    source = Source(str(tmp_path / "a.gsa"), "attention a extends base {\n  scale 2\n}\n")
    for text in (BASE.replace("sigmoid", "sigmod"), BASE.replace("causal", "causl"), BASE.replace("last k", "last 0")):
        (tmp_path / "base.gsa").write_text(text)
        (found,) = analyse(source, tmp_path).diagnostics
        assert found.message.startswith("base.gsa:")
        assert source.text[found.span.start : found.span.end] == "base"


def test_what_may_be_left_out_is_offered() -> None:
    text = "attention a extends base {\n  without "
    offered = {item.label for item in completions(Source("a.gsa", text), len(text))}
    assert {"gate", "bound", "always", "require"} <= offered
    assert not {"causal", "without"} & offered
