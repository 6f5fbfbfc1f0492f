"""Verification of blocks, kv heads and runs of queries: a faithful implementation passes, wrong choices are seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gsa_dsl.reference.dense import ReferenceResult
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.specs import load_spec
from gsa_dsl.testing.verify import verify
from tests.properties.test_verify_catches_mistakes import Fake, blame

SCORE = "sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])"


def spec(
    select: str, *clauses: str, keys: str = "heads 2  dim 8  keys shared", score: str = SCORE, sees: str = "causal"
) -> CheckedSpec:
    inner = "\n".join([sees, f"indexer {{ {keys}  score[t, s] = {score} }}", f"select top {select}", *clauses])
    return load_spec(f"attention small {{ {inner} }}")


BLOCKS = spec("2 blocks(4) by max", "always diagonal", "train indexer with kl")
HEADS = spec("2 blocks(4) by max per kv_head", "always diagonal", "train indexer with kl")
RUNS = spec("3 tokens per queries(4)", "always last 2")
SPECS = {
    "blocks": BLOCKS,
    "kv heads": HEADS,
    "runs": RUNS,
    "sums": spec("2 blocks(4) by sum per queries(8)", sees="full"),
    "means": spec("1 blocks(4) by mean", "always first 1"),
    "pooled": spec(
        "2 blocks(4)", "always diagonal", "train indexer with kl", keys="heads 2 dim 8 keys shared pool max"
    ),
    "own keys": spec(
        "2 blocks(4) per kv_head",
        "always last 2",
        keys="keys attention pool mean",
        score="sum(j) q[t, j] . k[s] / sqrt(dim) / heads",
    ),
    "keys of kv heads": spec(
        "2 blocks(4) per kv_head per queries(2)", keys="heads 2 dim 8 keys per kv_head pool mean", sees="full"
    ),
}


@pytest.mark.parametrize("name", list(SPECS))
def test_a_faithful_implementation_passes(name: str) -> None:
    report = verify(Fake(spec=SPECS[name]), shapes=[(1, 1), (2, 29)])
    assert report.ok, str(report)
    assert "selection" in {row.quantity for row in report.rows}
    patterns = {row.case.pattern for row in report.rows}
    assert ("nan" in patterns) == (name != "own keys")


def other_unit(result: ReferenceResult) -> Tensor:
    """The last query's units, its own aside, each one further."""
    mask = result.selected.clone()
    mask[..., -1, :-1] = mask[..., -1, :-1].roll(1, -1)
    return mask


def own_choice(result: ReferenceResult) -> Tensor:
    """A query in the middle of a run that takes another key than the first of its run."""
    mask = result.selected.clone()
    seen = mask[0, 23, :20].clone()
    mask[0, 23, :20] = seen.roll(1)
    return mask


@pytest.mark.parametrize(
    ("wrong", "mask"),
    [
        (BLOCKS, other_unit),
        (HEADS, other_unit),
        (HEADS, lambda r: r.selected.flip(1)),
        (HEADS, lambda r: r.selected[:, :1].expand_as(r.selected)),
        (RUNS, own_choice),
        (RUNS, lambda r: r.selected & ~torch.eye(29, dtype=torch.bool)),
        (BLOCKS, lambda r: r.visible),
    ],
    ids=["another block", "another head's", "heads swapped", "heads alike", "own choice", "own key left out", "all"],
)
def test_a_wrong_choice_is_seen(wrong: CheckedSpec, mask: Callable[[ReferenceResult], Tensor]) -> None:
    report = verify(Fake(mask=mask, spec=wrong), shapes=[(2, 29)], patterns=("normal",))
    assert "selection" in blame(report)


def test_the_later_of_two_equal_blocks_is_seen() -> None:
    def later(result: ReferenceResult) -> Tensor:
        assert result.scores is not None
        own = torch.arange(result.selected.shape[1]) // 4
        forced = own.unsqueeze(-1) == torch.arange(result.selected.shape[2])
        scores = torch.where(forced, -torch.inf, result.scores).nan_to_num(-torch.inf)
        order = scores.flip(-1).sort(stable=True, dim=-1, descending=True).indices
        rank = torch.empty_like(order).scatter_(-1, order, torch.arange(order.shape[-1]).expand_as(order)).flip(-1)
        chosen = (rank < 2) & scores.isfinite() & (scores > -3e38)
        return result.visible & (chosen | forced)

    report = verify(Fake(mask=later, spec=BLOCKS), shapes=[(2, 29)], patterns=("ties",))
    (row,) = (row for row in report.failures if row.quantity == "selection")
    assert "later of two equal" in row.note
