"""Choices of blocks, of kv heads and of runs of queries: what is typed and what is refused."""

from __future__ import annotations

import pytest

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.sema import typed
from tests.sema.specs import attention, checked, indexer, own_keys, refused


def test_a_choice_of_blocks_is_typed() -> None:
    text = attention(
        indexer(keys="per kv_head"),
        "select top n blocks(size) per queries(2 * 4) per kv_head by mean",
        "always first 1, diagonal",
        params="(n = 3, size = 16)",
    )
    spec = checked(text)
    assert spec.selection is not None
    assert spec.indexer is not None
    how = spec.selection
    assert (how.most, how.block, how.reduce, how.per_kv_head, how.queries) == (3, 16, "mean", True, 8)
    assert (spec.indexer.keys, spec.indexer.pool) == ("kv_head", None)
    assert (spec.forced.first, spec.forced.last) == (1, 1)
    bound = checked(text, size=64).selection
    assert bound is not None
    assert bound.block == 64
    assert [d.code for d in refused(text, size=48)] == [codes.BAD_UNIT]


def test_tokens_are_blocks_of_one() -> None:
    selection = checked(attention(indexer(), "select top 8 tokens")).selection
    assert selection is not None
    assert (selection.block, selection.reduce, selection.per_kv_head, selection.queries) == (1, None, False, 1)


def test_the_attentions_own_sizes_are_dimensions() -> None:
    score = "sum(j) sigmoid(q[t, j] . k[s] / sqrt(dim)) / heads + 0 * J"
    spec = checked(attention(own_keys(score), "select top 8 tokens per kv_head"))
    assert spec.indexer is not None
    assert (spec.indexer.keys, spec.indexer.heads, spec.indexer.dim) == ("attention", 0, 0)
    assert spec.indexer.tensors == ("q", "k")
    names = {node.name for node in typed.walk(spec.indexer.score) if isinstance(node, typed.Dimension)}
    assert names == {"head_dim", "group"}


@pytest.mark.parametrize(("op", "high"), [("sum", "inf"), ("mean", "1"), ("max", "1")])
def test_a_sum_over_the_heads_of_a_kv_head_has_no_end(op: str, high: str) -> None:
    spec = checked(attention(own_keys(f"{op}(j) sigmoid(q[t, j] . k[s])"), "select top 8 tokens per kv_head"))
    assert spec.indexer is not None
    assert str(spec.indexer.score.range) == f"(0, {high})"
    unknown = attention(own_keys(), "select top 8 tokens per kv_head", "assert score in (-inf, J)")
    assert [d.code for d in refused(unknown)] == [codes.NOT_VISIBLE]


@pytest.mark.parametrize(("by", "most"), [("max", 4), ("mean", 4), ("sum", 32)])
def test_statistics_are_of_blocks_and_assertions_of_tokens(by: str, most: int) -> None:
    clauses = ("budget[t] = max(score[t])", f"select top budget blocks(8) by {by}", "always last 1")
    spec = checked(attention(indexer(), *clauses, "assert score in (0, J)"))
    assert spec.selection is not None
    assert spec.selection.budget.range.high == most


def test_pooled_keys_need_their_own_block_under_causal_only() -> None:
    text = attention(indexer(keys="shared pool mean"), "select top 8 blocks(16)")
    assert [d.code for d in refused(text)] == [codes.OWN_BLOCK]
    assert refused(text.replace("causal", "full")) == ()
    soft = text.replace("}\n", "}\nalways diagonal\nlogit[t, s] = q[t] . k[s] + log(score[t, s])\n", 1)
    assert [d.code for d in refused(soft)] == [codes.POOLED_LOGIT]
    assert refused(soft.replace("causal", "full")) == ()
    assert [d.code for d in refused(soft.replace("causal", "full documents"))] == [codes.POOLED_DOCUMENTS]


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        (("train indexer with kl",), codes.UNTRAINED),
        (("logit[t, s] = q[t] . k[s] + score[t, s]",), codes.UNTRAINED),
    ],
)
def test_nothing_is_trained_of_the_attentions_own_keys(clauses: tuple[str, ...], expected: str) -> None:
    assert [d.code for d in refused(attention(own_keys(), "select top 8 tokens per kv_head", *clauses))] == [expected]


def test_a_misspelt_sharing_is_told_once() -> None:
    text = attention(indexer(keys="per kv_head"), "select top 8 tokens per kv_haed")
    (only,) = refused(text)
    assert (only.code, only.fix) == (codes.UNKNOWN_WORD, "did you mean 'kv_head'?")
