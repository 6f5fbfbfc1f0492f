"""Choices of blocks, of kv heads and of runs of queries, each against numbers worked out by hand.

With one indexer head of one feature and q = 1, score[t, s] is simply k[s], so a list of scores is a whole input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.testing.specs import load_spec

NAN, INF = math.nan, math.inf
SCORES = [3, 1, 4, 2, 0, 5]


def run(
    clauses: str, scores: Sequence[float], *, kind: str = "causal", pool: str = "", **options: object
) -> ReferenceResult:
    """The reference on one sequence whose query, key are 0 (uniform attention) and whose value is the position."""
    length = len(scores)
    zero = torch.zeros(1, 1, length, 1, dtype=torch.float64)
    index = {
        "q": torch.ones(1, 1, length, 1, dtype=torch.float64),
        "k": torch.tensor(scores, dtype=torch.float64).view(1, length, 1),
    }
    indexer = f"indexer {{ heads 1  dim 1  keys shared  {pool}  score[t, s] = sum(j) q[t, j] . k[s] }}"
    spec = load_spec(f"attention test {{ {kind} {indexer} {clauses} }}")
    return reference(spec, zero, zero, positions(length), index=index, **options)  # type: ignore[arg-type]


def positions(length: int) -> Tensor:
    return torch.arange(length).double().view(1, 1, length, 1)


def units(result: ReferenceResult, head: int = 0) -> list[list[int]]:
    rows = result.selected[0] if result.selected.dim() == 3 else result.selected[0, head]
    return [row.nonzero().flatten().tolist() for row in rows]


def test_whole_blocks_are_chosen_and_their_visible_tokens_attended_to() -> None:
    result = run("select top 1 blocks(2) by max always diagonal", SCORES)
    assert units(result) == [[0], [0], [0, 1], [0, 1], [1, 2], [1, 2]]
    assert result.output.flatten().tolist() == pytest.approx([0, 0.5, 1, 1.5, 3, 3.5])
    assert result.budget is not None
    assert result.budget.tolist() == [[0, 0, 1, 1, 1, 1]]
    assert result.visible.shape == (1, 6, 3)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("max", [[0], [0], [1], [1], [1], [2]]),
        ("mean", [[0], [0], [1], [1], [1], [1]]),
        ("sum", [[0], [0], [0], [1], [1], [1]]),
    ],
)
def test_a_block_is_scored_by_the_tokens_that_the_query_sees(by: str, expected: list[list[int]]) -> None:
    result = run(f"select top 1 blocks(2) by {by}", SCORES)
    assert units(result) == expected
    assert result.scores is not None
    last = {"max": [3, 4, 5], "mean": [2, 3, 2.5], "sum": [4, 6, 5]}[by]
    assert result.scores[0, 5].tolist() == last
    assert result.scores[0, 2].tolist() == [last[0], 4, -INF]


def test_scores_that_are_not_finite_do_not_count_and_a_block_without_any_is_not_chosen() -> None:
    result = run("select top 2 blocks(2) by max", [NAN, 1, NAN, INF, 2, NAN])
    assert units(result) == [[], [0], [0], [0], [0, 2], [0, 2]]
    assert result.budget is not None
    assert result.budget.tolist() == [[0, 1, 1, 1, 2, 2]]
    assert result.output.flatten().tolist() == pytest.approx([0, 0.5, 0.5, 0.5, 5 / 3, 2.5])


def test_budgets_and_statistics_count_blocks() -> None:
    result = run("budget[t] = min(count(score[t]), 9)  select top budget blocks(2) by max", SCORES)
    assert result.budget is not None
    assert result.budget.tolist() == [[1, 1, 2, 2, 3, 3]]
    mean = run("budget[t] = clamp(mean(score[t]), 0, 9)  select top budget blocks(2) by max", SCORES)
    assert mean.budget_exact is not None
    assert mean.budget_exact[0].tolist() == pytest.approx([3, 3, 3.5, 3.5, 7 / 3, 4])


def test_first_and_last_are_blocks_and_the_last_one_may_be_short() -> None:
    clauses = "select top 1 blocks(2) by max always first 1, last 2"
    assert units(run(clauses, [0, 0, 9, 8, 0, 7, 6]))[4:] == [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]
    assert units(run(clauses, [0, 0, 9, 8, 0, 7, 6, 0, 0]))[8] == [0, 1, 3, 4]
    full = run("select top 1 blocks(2) by max always diagonal", [0, 0, 9, 8, 7], kind="full")
    assert units(full) == [[0, 1], [0, 1], [1, 2], [1, 2], [1, 2]]


def test_the_first_block_of_a_document_is_the_first_that_a_query_sees() -> None:
    documents = torch.tensor([[7, 7, 7, 8, 8, 8]])
    clauses = "documents select top 0 blocks(2) by max always first 1"
    result = run(clauses, SCORES, documents=documents)
    assert units(result) == [[0], [0], [0], [1], [1], [1]]
    assert result.output.flatten().tolist() == pytest.approx([0, 0.5, 0.5, 3, 3, 3])


@pytest.mark.parametrize(
    ("pool", "scores", "last"), [("mean", [1, 3, 2, 2, 0, 9], [2, 2, -INF]), ("max", [1, 3, 2, 2, 0, 9], [3, 2, -INF])]
)
def test_the_own_block_of_pooled_keys_has_no_score(pool: str, scores: list[float], last: list[float]) -> None:
    result = run("select top 1 blocks(2) always diagonal", scores, pool=f"pool {pool}")
    assert result.scores is not None
    assert result.scores[0, 5].tolist() == last
    assert result.scores[0, 2].tolist() == [last[0], -INF, -INF]
    assert units(result) == [[0], [0], [0, 1], [0, 1], [0, 2], [0, 2]]


def test_pooled_keys_of_full_attention_are_all_scored_the_last_over_the_positions_there_are() -> None:
    result = run("select top 1 blocks(2)", [1, 3, 2, 0, 5], kind="full", pool="pool mean")
    assert result.scores is not None
    assert result.scores[0].tolist() == [[2, 1, 5]] * 5
    assert units(result) == [[2]] * 5


def test_queries_that_share_a_choice_use_that_of_the_first_of_them() -> None:
    result = run("select top 1 tokens per queries(2)", [1, 5, 2, 9, 0])
    assert units(result) == [[0], [0], [1], [1], [3]]
    assert result.scores is not None
    assert result.scores[0, 3].tolist() == [1, 5, 2, -INF, -INF]
    assert result.budget is not None
    assert result.budget.tolist() == [[1, 1, 1, 1, 1]]


def test_a_shared_choice_is_beside_each_querys_own_forced_keys() -> None:
    result = run("select top 1 tokens per queries(2) always last 2", [9, 5, 2, 8, 0, 1])
    # Of the run that begins at 2, query 2 chooses 0 (1 and 2 are forced); query 3 has its own last two beside it.
    assert units(result) == [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]
    blocks = run("select top 1 blocks(2) by max per queries(4) always diagonal", [9, 5, 2, 8, 0, 1])
    assert units(blocks) == [[0], [0], [1], [1], [0, 2], [0, 2]]


def test_running_means_take_a_shared_choice_for_one_row() -> None:
    clauses = "budget[t] = min(ema(count(score[t])), 9) select top budget tokens per queries(2)"
    result = run(clauses, [1, 2, 3, 4])
    assert result.ema_inputs is not None
    assert result.ema_inputs.tolist() == [2.0]  # of 1 and 3 keys


def test_every_kv_head_chooses_for_its_query_heads() -> None:
    spec = load_spec(
        "attention test { causal indexer { heads 1 dim 1 keys shared score[t, s] = sum(j) q[t, j] . k[s] }"
        " select top 1 blocks(2) by max per kv_head  train indexer with kl }"
    )
    zero = torch.zeros(1, 4, 4, 1, dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1, 1).expand(1, 2, 1, 4, 1)
    index = {"q": sign, "k": torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(1, 4, 1)}
    value = positions(4).repeat(1, 2, 1, 1)
    result = reference(spec, zero, zero[:, :2], value, index=index)
    assert units(result, 0) == [[0], [0], [1], [1]]
    assert units(result, 1) == [[0], [0], [0], [0]]
    assert result.budget is not None
    assert result.budget.shape == (1, 2, 4)
    assert result.output[0, :, 3, 0].tolist() == [2.5, 2.5, 0.5, 0.5]
    # Each kv head's scores against the uniform attention of its own heads: five of the eight rows have two keys.
    two = math.log(0.5) - 0.5 * sum(math.log(1 / (1 + math.exp(x))) for x in (1, -1))
    assert result.indexer_loss is not None
    assert result.indexer_loss.item() == pytest.approx(5 * two / 8)


def test_the_attentions_own_keys_score_by_kv_head_as_they_are_passed() -> None:
    spec = load_spec(
        "attention test { causal gate key = given(mask) per head"
        " indexer { keys attention pool mean score[t, s] = sum(j) q[t, j] . k[s] / heads / dim }"
        " select top 1 blocks(2) per kv_head always diagonal }"
    )
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 7, 3, generator=generator).double() for heads in (4, 2, 2))
    gate = torch.zeros(1, 2, 7, dtype=torch.float64)
    query.requires_grad_()
    result = reference(spec, query, key, value, gates={"mask": gate})
    assert result.scores is not None
    for g, t, c in ((0, 6, 0), (1, 6, 2), (1, 3, 0)):
        pooled = key[0, g, 2 * c : 2 * c + 2].mean(0)
        expected = sum(query[0, 2 * g + j, t] @ pooled for j in range(2)) / 2 / 3
        assert result.scores[0, g, t, c].item() == pytest.approx(float(torch.as_tensor(expected).detach()))
    assert not result.scores.requires_grad
    # The gate makes all logits 0: what is attended to is uniform over the chosen tokens.
    tokens = [s for c in units(result, 1)[6] for s in (2 * c, 2 * c + 1) if s <= 6]
    assert torch.allclose(result.output[0, 2, 6], value[0, 1, tokens].mean(0))


def test_the_loss_reads_the_score_of_a_tokens_block_and_0_where_there_is_none() -> None:
    result = run("select top 1 blocks(2) always diagonal train indexer with kl", [1, 3, 0, 0], pool="pool mean")
    # Query 3 attends to all four, whose scores are 2, 2 and, in its own block, 0.
    share = [math.exp(x) / (2 * math.exp(2) + 2) for x in (2, 2, 0, 0)]
    last = sum(0.25 * math.log(0.25 / p) for p in share)
    share = [math.exp(x) / (2 * math.exp(2) + 1) for x in (2, 2, 0)]
    third = sum(math.log(1 / 3 / p) / 3 for p in share)
    assert result.indexer_loss is not None
    assert result.indexer_loss.item() == pytest.approx((last + third) / 4)


def test_the_gradient_of_the_largest_key_is_shared_by_equal_ones_and_a_nan_gets_none() -> None:
    spec = load_spec(
        "attention test { full indexer { heads 1 dim 1 keys shared pool max score[t, s] = sum(j) q[t, j] . k[s] }"
        " select top 3 blocks(2)  train indexer with kl }"
    )
    length = 6
    zero = torch.zeros(1, 1, length, 1, dtype=torch.float64)
    key = torch.tensor([2.0, 2.0, 1.0, -1.0, NAN, 5.0], dtype=torch.float64).view(1, length, 1).requires_grad_()
    index = {"q": torch.ones(1, 1, length, 1, dtype=torch.float64), "k": key}
    result = reference(spec, zero, zero, positions(length), index=index)
    assert units(result) == [[0, 1]] * length
    assert result.indexer_loss is not None
    result.indexer_loss.backward()
    assert key.grad is not None
    gradient = key.grad.flatten().tolist()
    assert gradient[0] == gradient[1] != 0
    assert gradient[2] == pytest.approx(-2 * gradient[0])
    assert gradient[3:] == [0, 0, 0]


def test_a_given_choice_is_in_units() -> None:
    chosen = torch.zeros(1, 6, 3, dtype=torch.bool)
    chosen[..., 0] = True
    result = run("select top 1 blocks(2) by max", SCORES, selection=chosen)
    assert units(result) == [[0]] * 6
    assert result.output.flatten().tolist() == pytest.approx([0, 0.5, 0.5, 0.5, 0.5, 0.5])


def test_warm_up_does_not_know_of_blocks() -> None:
    blocks = run("select top 1 blocks(2) by max train indexer with kl", SCORES, phase="warmup")
    tokens = run("select top 1 tokens train indexer with kl", SCORES, phase="warmup")
    assert torch.equal(blocks.output, tokens.output)
    assert blocks.indexer_loss is not None
    assert torch.equal(blocks.indexer_loss, tokens.indexer_loss)  # type: ignore[arg-type]
