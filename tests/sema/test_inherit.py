"""What a spec takes over from the one it extends, and what of it it replaces."""

from __future__ import annotations

from gsa_dsl.diagnostics import Source, SpecError
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.library import among, with_bases
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema.check import check
from gsa_dsl.sema.cost import cost
from gsa_dsl.sema.typed import CheckedSpec
from tests.sema.specs import indexer

BASE = f"""attention base(k = 64, most = k * 2) {{
causal
scale 1 / head_dim
gate value = sigmoid(linear(x)) per element
gate output = sigmoid(linear(x)) per element
gate output = tanh(linear(x)) per head
{indexer()}
budget[t] = clamp(k * var(score[t]), 1, most)
select top budget tokens
always last 4
train indexer with kl
bound selected <= most + 4
bound flops <= O(L^2 * J * dI + L * most * H * D)
assert score in (0, J)
assert budget in [1, most]
require k <= most
}}"""


def extended(text: str, bases: dict[str, str] | None = None, **params: int | float) -> CheckedSpec:
    return check(parse(with_bases(Source("small.gsa", text), among(bases or {"base": BASE}))), params)


def refused(text: str, **params: int | float) -> SpecError:
    try:
        extended(text, **params)
    except SpecError as error:
        return error
    raise AssertionError("it is accepted")


def clauses(spec: CheckedSpec, kind: type[ast.Clause]) -> list[str]:
    return [spec.source.quote(clause.span) for clause in spec.tree.clauses if isinstance(clause, kind)]


def test_everything_is_taken_over() -> None:
    spec, base = extended("attention a extends base {}"), check(parse(Source("base.gsa", BASE)))
    assert spec.name == "a"
    assert spec.params == base.params
    assert [gate.name for gate in spec.gates] == ["value", "output", "output_2"]
    assert spec.forced.last == 4
    assert cost(spec).evaluate(100, 4, 2, 16) == cost(base).evaluate(100, 4, 2, 16)


def test_a_clause_replaces_those_about_the_same() -> None:
    spec = extended(
        """attention a(recent = 2) extends base {
          scale 2
          gate output = sigmoid(linear(x)) per shared
          always first 1, last recent
          without bound flops
          train indexer with kl(temperature = 3)
          bound selected <= most + 3
          assert budget in [1, 500]
        }"""
    )
    assert [(gate.name, gate.granularity) for gate in spec.gates] == [("value", "element"), ("output", "shared")]
    assert (spec.forced.first, spec.forced.last) == (1, 2)
    assert spec.train is not None
    assert spec.train.temperature == 3
    assert clauses(spec, ast.Bound) == ["bound selected <= most + 3"]
    assert clauses(spec, ast.Assert) == ["assert score in (0, J)", "assert budget in [1, 500]"]


def test_parameters_keep_their_order_and_take_new_defaults() -> None:
    spec = extended("attention a(extra = 1, k = 8) extends base {}")
    assert spec.params == (("k", 8), ("most", 16), ("extra", 1))
    assert extended("attention a(k = 8) extends base {}", k=5, most=7).params == (("k", 5), ("most", 7))


def test_requirements_add_up() -> None:
    text = "attention a extends base { require k >= 2 }"
    assert len(clauses(extended(text), ast.Require)) == 2
    assert [d.code for d in refused(text, k=1).diagnostics] == ["GSA138"]
    assert [d.code for d in refused(text, k=5, most=4).diagnostics] == ["GSA138"]
    assert extended("attention a extends base { without require }", k=5, most=4).params


def test_without_leaves_out() -> None:
    spec = extended(
        """attention a extends base {
          without gate output  without scale  without always  without train
          without bound selected  without bound flops  without assert score  without assert budget
          without indexer  without budget  without select  without require
        }"""
    )
    assert [gate.name for gate in spec.gates] == ["value"]
    assert (spec.scale, spec.indexer, spec.selection, spec.train, spec.forced.span) == (None,) * 5
    assert [type(clause) for clause in spec.tree.clauses] == [ast.Causal, ast.Gate]


def test_what_a_query_sees_is_replaced_and_what_the_logits_are_left_out() -> None:
    text = """attention base { causal documents sink
      logit[t, s] = q[t] . k[s] / sqrt(head_dim) - slope[h] * distance
      always last 4 }"""
    spec = extended("attention a extends base { full  without always }", {"base": text})
    assert clauses(spec, ast.Full) == ["full"]
    assert not clauses(spec, ast.Causal)
    plain = extended("attention a extends base { without documents  without logit  without sink }", {"base": text})
    assert {type(clause) for clause in plain.tree.clauses} == {ast.Causal, ast.Always}
    other = extended("attention a extends base { logit[t, s] = 2 * (q[t] . k[s]) }", {"base": text})
    assert clauses(other, ast.Logit) == ["logit[t, s] = 2 * (q[t] . k[s])"]


def test_a_chain_of_three() -> None:
    middle = "attention middle(k = 4) extends base { without gate value  always last 9 }"
    spec = extended("attention a(most = 6) extends middle { without always }", {"middle": middle, "base": BASE})
    assert spec.params == (("k", 4), ("most", 6))
    assert [gate.name for gate in spec.gates] == ["output", "output_2"]
    assert spec.forced.span is None


def test_spans_know_their_file() -> None:
    spec = extended("attention a extends base { always last 3 }")
    assert spec.gates[0].span.source is not None
    assert spec.gates[0].span.source.name == "base.gsa"
    assert spec.forced.span is not None
    assert spec.forced.span.source is None
    assert spec.source.quote(spec.gates[0].span) == "gate value = sigmoid(linear(x)) per element"


def test_a_mistake_in_an_inherited_clause_is_shown_there() -> None:
    error = refused("attention a extends base {\n without indexer\n without train }")
    assert {error.source.of(d.span).name for d in error.diagnostics} == {"base.gsa"}
    text = str(error)
    assert "--> base.gsa:9:1" in text
    assert "::: small.gsa:1:21" in text
    assert "inherited here" in text


def test_checking_again_needs_no_base() -> None:
    spec = extended("attention a extends base {}")
    again = check(spec.tree, {"k": 3})
    assert dict(again.params)["k"] == 3


BLOCKS = """attention base(k = 3, block = 16) {
causal
indexer { keys attention  pool mean  score[t, s] = sum(j) q[t, j] . k[s] }
select top k blocks(block) per kv_head
always diagonal
bound selected <= (k + 1) * block
}"""


def test_choices_of_blocks_are_extended_clause_by_clause() -> None:
    spec = extended(
        "attention small(block = 64) extends base { always last 2 bound selected <= 5 * block }", {"base": BLOCKS}
    )
    assert spec.selection is not None
    assert (spec.selection.block, spec.forced.last) == (64, 2)
    runs = "attention small extends base { select top 1 blocks(block) per kv_head per queries(8) }"
    assert getattr(extended(runs, {"base": BLOCKS}).selection, "queries", 0) == 8


def test_what_blocks_need_cannot_be_left_out() -> None:
    try:
        extended("attention small extends base { without always }", {"base": BLOCKS})
    except SpecError as error:
        (only,) = error.diagnostics
        assert only.code == "GSA149"
        assert [label.text for label in only.labels] == ["inherited here"]
    else:
        raise AssertionError("it was accepted")
