"""Selections, budgets and the indexer's loss, each against numbers worked out by hand.

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
INDEXER = "indexer { heads 1  dim 1  keys shared  score[t, s] = sum(j) q[t, j] . k[s] }"


def run(
    clauses: str, scores: Sequence[float], *, kind: str = "causal", ema: float | None = None, **options: object
) -> ReferenceResult:
    """The reference on one sequence whose query, key are 0 (uniform attention) and whose value is the position."""
    length = len(scores)
    zero = torch.zeros(1, 1, length, 1, dtype=torch.float64)
    index = {
        "q": torch.ones(1, 1, length, 1, dtype=torch.float64),
        "k": torch.tensor(scores, dtype=torch.float64).view(1, length, 1),
    }
    state = None if ema is None else torch.tensor([ema])
    spec = load_spec(f"attention test {{ {kind} {INDEXER} {clauses} }}")
    value = torch.arange(length).double().view(1, 1, length, 1)
    return reference(spec, zero, zero, value, index=index, ema=state, **options)  # type: ignore[arg-type]


def keys(result: ReferenceResult) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in result.selected[0]]


def test_the_highest_scores_are_taken_and_attended_to_uniformly() -> None:
    result = run("select top 2 tokens", [3, 1, 4, 2])
    assert keys(result) == [[0], [0, 1], [0, 2], [0, 2]]
    assert result.budget is not None
    assert result.budget.tolist() == [[1, 2, 2, 2]]
    assert result.output.flatten().tolist() == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert result.lse.flatten().tolist() == pytest.approx([0.0, math.log(2), math.log(2), math.log(2)])


def test_equal_scores_go_to_the_smaller_position() -> None:
    assert keys(run("select top 2 tokens", [1, 1, 1, 1]))[3] == [0, 1]
    assert keys(run("select top 2 tokens", [0, 5, 1, 1, 1]))[4] == [1, 2]
    assert keys(run("select top 1 tokens", [-0.0, 0.0, -0.0]))[2] == [0]


def test_forced_keys_come_on_top_of_the_budget_and_do_not_use_it_up() -> None:
    result = run("select top 1 tokens always first 1, last 2", [9, 1, 5, 3, 8, 7])
    assert keys(result) == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 2, 3, 4], [0, 2, 4, 5]]
    assert result.budget is not None
    assert result.budget.tolist() == [[0, 0, 0, 1, 1, 1]]


def test_scores_that_are_not_finite_are_never_chosen() -> None:
    result = run("select top 2 tokens", [NAN, INF, 1, -INF, 2])
    assert keys(result) == [[], [], [2], [2], [2, 4]]
    assert result.budget is not None
    assert result.budget.tolist() == [[0, 0, 1, 1, 2]]
    assert keys(run("select top 1 tokens always last 1", [NAN, 1, INF])) == [[0], [1], [1, 2]]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("count", [1, 2, 2, 3]),
        ("mean", [3, 2, 2, 2]),
        ("var", [0, 1, 1, 2 / 3]),
        ("max", [3, 3, 3, 3]),
        ("min", [3, 1, 1, 1]),
    ],
)
def test_statistics_of_a_row_see_its_finite_scores_up_to_t(statistic: str, expected: list[float]) -> None:
    result = run(f"budget[t] = clamp({statistic}(score[t]), 0, 9) select top budget tokens", [3, 1, NAN, 2])
    assert result.budget_exact is not None
    assert result.budget_exact[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("exp(entropy(score[t]))", [1, 2, 2, 3]),
        ("top_p(score[t], 0.51)", [1, 2, 2, 2]),
        ("top_p(score[t], 0.49)", [1, 1, 1, 2]),
        ("top_p(score[t], 1)", [1, 2, 2, 3]),
        ("above(score[t], 1.99)", [1, 2, 2, 3]),
        ("above(score[t], 2)", [0, 0, 0, 0]),
        ("above(score[t], -2)", [1, 2, 2, 3]),
    ],
)
def test_statistics_of_equal_scores(budget: str, expected: list[int]) -> None:
    result = run(f"budget[t] = min({budget}, 9) select top budget tokens", [2, 2, NAN, 2])
    assert result.budget_exact is not None
    assert result.budget_exact.flatten().tolist() == pytest.approx(expected)


def test_entropy_and_mass_of_scores_that_differ() -> None:
    scores = [0.0, 1.0, -INF, 3.0]
    weights = [1.0, math.e, math.e**3]
    p = [weight / sum(weights) for weight in weights]
    exact = run("budget[t] = min(entropy(score[t]), 9) select top budget tokens", scores).budget_exact
    assert exact is not None
    assert exact[0, 3].item() == pytest.approx(-sum(x * math.log(x) for x in p))
    assert exact[0, 0].item() == 0
    for share, count in ((p[2] - 1e-9, 1), (p[2] + 1e-9, 2), (p[2] + p[1] - 1e-9, 2), (p[2] + p[1] + 1e-9, 3)):
        fewest = run(f"budget[t] = min(top_p(score[t], {share}), 9) select top budget tokens", scores).budget_exact
        assert fewest is not None
        assert fewest[0, 3].item() == count


def test_a_row_without_any_score_has_no_entropy_and_no_mass() -> None:
    for statistic in ("entropy(score[t])", "top_p(score[t], 0.5)", "above(score[t], 0)"):
        result = run(f"budget[t] = min({statistic}, 9) select top budget tokens always last 1", [NAN, INF])
        assert result.budget_exact is not None
        assert result.budget_exact.tolist() == [[0, 0]]


def test_full_rows_see_both_ways() -> None:
    result = run("select top 1 tokens always last 2", [9, 1, 2, 3, 8], kind="full")
    assert keys(result) == [[0, 1, 4], [0, 1, 2, 4], [0, 1, 2, 3], [0, 2, 3, 4], [0, 3, 4]]
    exact = run("budget[t] = min(count(score[t]), 9) select top budget tokens", [1, NAN, 1], kind="full").budget_exact
    assert exact is not None
    assert exact.tolist() == [[2, 2, 2]]


def test_documents_see_themselves_alone() -> None:
    documents = torch.tensor([[4, 4, 4, 2, 2, 4]])
    scores = [9.0, 1.0, 5.0, 8.0, 3.0, 7.0]
    result = run("select top 1 tokens always first 1", scores, kind="causal documents", documents=documents)
    assert keys(result) == [[0], [0, 1], [0, 2], [3], [3, 4], [5]]
    full = run(
        "budget[t] = clamp(max(score[t]), 0, 9) select top budget tokens",
        scores,
        kind="full documents",
        documents=documents,
    )
    assert full.budget_exact is not None
    assert full.budget_exact.tolist() == [[9, 9, 9, 8, 8, 7]]
    assert keys(full) == [[0, 1, 2]] * 3 + [[3, 4]] * 2 + [[5]]


def test_documents_are_asked_for_where_the_spec_says_so() -> None:
    ids = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="needs their ids"):
        run("select top 1 tokens", [1, 2], kind="causal documents")
    with pytest.raises(ValueError, match="takes no ids"):
        run("select top 1 tokens", [1, 2], documents=ids)


def test_statistics_count_forced_keys_and_are_zero_without_any_score() -> None:
    result = run("budget[t] = count(score[t]) * 0 + clamp(max(score[t]), 0, 9) select top budget tokens", [NAN, 4, 2])
    assert result.budget_exact is not None
    assert result.budget_exact[0].tolist() == [0, 4, 4]
    result = run("budget[t] = clamp(max(score[t]), 0, 9) select top budget tokens always last 1", [1, 4, 2])
    assert result.budget_exact is not None
    assert result.budget_exact[0].tolist() == [1, 4, 4]


def test_a_budget_is_rounded_down_after_the_clamp() -> None:
    result = run("budget[t] = clamp(mean(score[t]), 0, 2.9) select top budget tokens", [1.5, 2.0, 9.5, 3.0])
    assert result.budget_exact is not None
    assert result.budget_exact[0].tolist() == pytest.approx([1.5, 1.75, 2.9, 2.9])
    assert keys(result) == [[0], [1], [1, 2], [2, 3]]


def test_zero_over_zero_counts_as_the_largest_budget() -> None:
    adaptive = "budget[t] = clamp(2 * ema(var(score[t])) / var(score[t]), 1, 3) select top budget tokens"
    result = run(adaptive, [2, 2, 2, 2], ema=0.0)
    assert result.budget_exact is not None
    assert result.budget_exact[0].tolist() == [3, 3, 3, 3]
    assert keys(result)[3] == [0, 1, 2]


def test_ema_reads_the_state_before_this_step_and_reports_the_mean_of_its_body() -> None:
    adaptive = "budget[t] = clamp(2 * ema(var(score[t]), init = 4) / var(score[t]), 1, 5) select top budget tokens"
    scores = [3, 1, 2]  # variances 0, 1, 2/3
    started, given = run(adaptive, scores), run(adaptive, scores, ema=1.0)
    assert started.budget_exact is not None
    assert given.budget_exact is not None
    assert started.budget_exact[0].tolist() == [5, 5, 5]
    assert given.budget_exact[0].tolist() == pytest.approx([5, 2, 3])
    assert given.ema_inputs is not None
    assert given.ema_inputs.tolist() == pytest.approx([(0 + 1 + 2 / 3) / 3])


def test_a_row_without_keys_is_zero_with_zero_gradient_and_zero_loss() -> None:
    clauses = "budget[t] = clamp(max(score[t]), 0, 4) select top budget tokens train indexer with kl"
    spec = load_spec(f"attention test {{ causal {INDEXER} {clauses} }}")
    q, k, v = (torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    index = {
        "q": torch.ones(1, 1, 3, 1, dtype=torch.float64, requires_grad=True),
        "k": torch.tensor([[[-1.0], [-2.0], [2.0]]], dtype=torch.float64, requires_grad=True),
    }
    result = reference(spec, q, k, v, index=index)
    assert keys(result) == [[], [], [0, 2]]
    assert result.output[:, :, :2].abs().max() == 0
    assert torch.equal(result.lse[:, :, :2], torch.full((1, 2, 2), -INF, dtype=torch.float64))
    assert result.indexer_loss is not None
    torch.autograd.backward(result.output.sum() + result.indexer_loss)
    assert q.grad is not None
    assert q.grad[:, :, :2].abs().max() == 0
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v, *index.values()))


def test_the_loss_is_the_divergence_of_attention_from_the_indexer_averaged_over_rows() -> None:
    # uniform attention (1/2, 1/2); the scores (0, log 3) give (1/4, 3/4); the first row has one key and no divergence
    expected = 0.5 * (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    result = run("select top 2 tokens train indexer with kl", [0, math.log(3)])
    assert result.indexer_loss is not None
    assert result.indexer_loss.item() == pytest.approx(expected)
    result = run("select top 2 tokens train indexer with kl(temperature = 0.5)", [0, math.log(3) / 2])
    assert result.indexer_loss is not None
    assert result.indexer_loss.item() == pytest.approx(expected)


def test_the_loss_is_taken_to_the_mean_of_the_heads() -> None:
    spec = load_spec(f"attention test {{ causal {INDEXER} select top 2 tokens train indexer with kl }}")
    key = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 2, 1)
    query = torch.tensor([0.0, 1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 2, 1)  # (1/2, 1/2), (1/4, 3/4)
    index = {"q": torch.ones(1, 1, 2, 1), "k": torch.zeros(1, 2, 1)}  # (1/2, 1/2)
    result = reference(spec, query, key, key, index=index)
    p = 3 / 8
    expected = 0.5 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))
    assert result.indexer_loss is not None
    assert result.indexer_loss.item() == pytest.approx(expected)


def test_the_loss_covers_the_selected_keys_in_sparse_and_every_key_in_warmup() -> None:
    clauses = "select top 1 tokens train indexer with kl"
    sparse, warm = run(clauses, [0, math.log(3)]), run(clauses, [0, math.log(3)], phase="warmup")
    assert sparse.indexer_loss is not None
    assert warm.indexer_loss is not None
    assert sparse.indexer_loss.item() == 0
    assert warm.indexer_loss.item() == pytest.approx(0.25 * math.log(4 / 3))
    assert keys(warm) == [[0], [0, 1]]
    assert warm.budget is None
    assert warm.output.flatten().tolist() == pytest.approx([0, 0.5])


def test_a_score_that_is_not_finite_counts_as_zero_in_the_loss_and_gets_no_gradient() -> None:
    clauses = "select top 1 tokens always last 1 train indexer with kl"
    spec = load_spec(f"attention test {{ causal {INDEXER} {clauses} }}")
    zero = torch.zeros(1, 1, 2, 1, dtype=torch.float64)
    index = {
        "q": torch.ones(1, 1, 2, 1, dtype=torch.float64, requires_grad=True),
        "k": torch.tensor([[[math.log(3)], [NAN]]], dtype=torch.float64, requires_grad=True),
    }
    result = reference(spec, zero, zero, zero, index=index)
    assert keys(result) == [[0], [0, 1]]
    assert result.indexer_loss is not None
    assert result.indexer_loss.item() == pytest.approx(0.25 * math.log(4 / 3))
    torch.autograd.backward(result.indexer_loss)
    assert index["k"].grad is not None
    assert index["k"].grad.flatten().tolist() == pytest.approx([(0.75 - 0.5) / 2, 0.0])  # (i - p) / rows


def test_a_given_selection_replaces_the_choice_but_not_causality() -> None:
    mask = torch.tensor([[[1, 1, 1], [0, 1, 0], [1, 0, 1]]], dtype=torch.bool)
    result = run("select top 1 tokens", [3, 1, 2], selection=mask)
    assert keys(result) == [[0], [1], [0, 2]]
    assert result.output.flatten().tolist() == pytest.approx([0, 1, 1])


def test_a_window_with_sinks_needs_no_indexer() -> None:
    spec = load_spec("attention test { causal always first 1, last 2 }")
    x: Tensor = torch.zeros(1, 1, 5, 1, dtype=torch.float64)
    result = reference(spec, x, x, torch.arange(5).double().view(1, 1, 5, 1))
    assert keys(result) == [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert result.output.flatten().tolist() == pytest.approx([0, 0.5, 1, 5 / 3, 7 / 3])
    assert result.budget is None
    assert result.scores is None
