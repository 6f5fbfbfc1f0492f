"""Verification must fail on what is wrong: a faithful float32 implementation passes, and every spoilt one is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.report import VerifyReport
from gsa_dsl.testing.specs import load_spec
from gsa_dsl.testing.verify import verify

TEXT = """attention small(k_base = 6, k_min = 2, k_max = 9) {
  causal
  gate value  = sigmoid(linear(x))        per element
  gate output = sigmoid(linear(x) + 0.5)  per head
  indexer {
    heads 2  dim 8  keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])
  }
  budget[t] = clamp(k_base * ema(var(score[t])) / var(score[t]), k_min, k_max)
  select top budget tokens
  always last 2
  train indexer with kl
}"""
SPEC = load_spec(TEXT)


@dataclass(frozen=True)
class Mask:
    bits: Tensor

    def mask(self, rows: slice | None = None) -> Tensor:
        return self.bits if rows is None else self.bits[..., rows, :]


@dataclass(frozen=True)
class Aux:
    lse: Tensor
    budget: Tensor | None
    indexer_loss: Tensor | None
    ema_inputs: Tensor | None
    selection: Mask | None


Change = Callable[[ReferenceResult, dict[str, Tensor]], ReferenceResult]


@dataclass(frozen=True)
class Fake:
    """The reference in float32, dressed as a compiled attention; ``change`` spoils its result, ``mask`` its choice."""

    change: Change = lambda result, inputs: result
    mask: Callable[[ReferenceResult], Tensor] | None = None
    spec: CheckedSpec = SPEC
    backend: str = "interpret"
    inferred: float = 1.0  # what a call without gradients is off by

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"heads": 4, "kv_heads": 2, "head_dim": 8, "value_dim": 8}

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        gates: Mapping[str, Tensor] | None = None,
        index: Mapping[str, Tensor] | None = None,
        ema: Tensor | None = None,
        phase: str = "sparse",
        selection: Tensor | None = None,
        return_aux: bool = False,
    ) -> Any:
        options = {"gates": gates, "index": index, "ema": ema, "phase": phase, "dtype": torch.float32}
        result = reference(self.spec, query, key, value, selection=selection, **options)  # type: ignore[arg-type]
        if self.mask is not None and phase == "sparse" and selection is None:
            wrong = self.mask(result)
            result = reference(self.spec, query, key, value, selection=wrong, **options)  # type: ignore[arg-type]
            result = dataclasses.replace(result, selected=wrong)
        inputs = {"query": query, "key": key, "value": value, **(index or {})}
        result = self.change(result, inputs)
        chosen = Mask(result.selected) if phase == "sparse" else None
        if not return_aux:
            return result.output if torch.is_grad_enabled() else self.inferred * result.output
        return result.output, Aux(result.lse, result.budget, result.indexer_loss, result.ema_inputs, chosen)


def run(fake: Fake, pattern: str = "normal") -> VerifyReport:
    return verify(fake, shapes=[(2, 29)], patterns=(pattern,))


def blame(report: VerifyReport) -> set[str]:
    return {row.quantity.removesuffix(" (given)") for row in report.failures}


def test_a_faithful_implementation_passes() -> None:
    report = verify(Fake(), shapes=[(1, 1), (2, 29)])
    assert report.ok, str(report)
    quantities = {row.quantity for row in report.rows}
    assert {
        "selection",
        "output",
        "lse",
        "indexer_loss",
        "ema_inputs",
        "d query",
        "d gates.value",
        "d index.b",
    } <= quantities
    assert {row.case.phase for row in report.rows} == {"sparse", "warmup"}


def leak(x: Tensor, by: Tensor, amount: float) -> Tensor:
    """``x``, with ``amount`` more gradient to ``by`` and the same value."""
    extra = amount * by.sum()
    return x + (extra - extra.detach())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r, i: dataclasses.replace(r, output=r.output * 1.0001), "output"),
        (
            lambda r, i: dataclasses.replace(
                r, output=r.output.masked_fill(r.output == r.output[0, 0, 0, 0], torch.nan)
            ),
            "output",
        ),
        (lambda r, i: dataclasses.replace(r, lse=r.lse + 1e-4), "lse"),
        (lambda r, i: dataclasses.replace(r, lse=r.lse * 1.4427), "lse"),
        (lambda r, i: dataclasses.replace(r, output=leak(r.output, i["key"], 1e-5)), "d key"),
        (lambda r, i: dataclasses.replace(r, output=leak(r.output, i["w"], 1e-5)), "d index.w"),
        (lambda r, i: dataclasses.replace(r, indexer_loss=r.indexer_loss * 1.01), "d index.q"),
        (lambda r, i: dataclasses.replace(r, indexer_loss=r.indexer_loss.detach()), "d index.b"),
        (lambda r, i: dataclasses.replace(r, indexer_loss=leak(r.indexer_loss, i["query"], 1e-4)), "d query"),
        (lambda r, i: dataclasses.replace(r, indexer_loss=None), "indexer_loss"),
        (lambda r, i: dataclasses.replace(r, ema_inputs=r.ema_inputs * 1.01), "ema_inputs"),
        (lambda r, i: dataclasses.replace(r, budget=None if r.budget is None else r.budget + 1), "selection"),
        (lambda r, i: dataclasses.replace(r, budget=None), "selection"),
    ],
)
def test_a_wrong_result_is_named(change: Change, expected: str) -> None:
    assert expected in blame(run(Fake(change)))


def test_inference_is_looked_at_too() -> None:
    assert blame(run(Fake(inferred=1.0001))) == {"output (inference)"}


def test_operands_that_lie_otherwise_in_memory_are_looked_at_too() -> None:
    """Unless shapes are given, where a case may be as long as memory allows."""

    def blind_to_strides(result: ReferenceResult, inputs: dict[str, Tensor]) -> ReferenceResult:
        return dataclasses.replace(result, output=result.output + (inputs["query"].stride(-1) != 1))

    report = verify(Fake(blind_to_strides), patterns=("normal",))
    assert {str(row.case) for row in report.failures} == {
        "B=2 L=7 H=4/2 D=8 normal strided",
        "B=2 L=7 H=4/2 D=8 normal warmup strided",
    }
    assert verify(Fake(blind_to_strides), shapes=[(2, 7)], patterns=("normal",)).ok


def worse_key(result: ReferenceResult) -> Tensor:
    """The selection with the best key of the last row, beside the forced ones, exchanged for the worst."""
    assert result.scores is not None
    mask = result.selected.clone()
    scores = result.scores[0, -1, :-2]
    mask[0, -1, scores.argmax()], mask[0, -1, scores.argmin()] = False, True
    return mask


def later_of_equals(result: ReferenceResult) -> Tensor:
    """The selection that breaks ties to the larger position."""
    assert result.scores is not None
    assert result.budget_exact is not None
    scores = result.scores
    mask = torch.zeros_like(result.selected)
    length = scores.shape[-1]
    for b in range(scores.shape[0]):
        for t in range(length):
            forced = {s for s in range(length) if t - 2 < s <= t}
            best = scores[b, t].nan_to_num(-torch.inf).tolist()
            rest = sorted(
                (s for s in range(t + 1) if s not in forced and best[s] > -torch.inf), key=lambda s: (-best[s], -s)
            )
            chosen = forced | set(rest[: int(result.budget_exact[b, t])])
            mask[b, t, list(chosen)] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        worse_key,
        later_of_equals,
        lambda r: r.selected.roll(1, -1) & torch.ones_like(r.selected).tril(),
        lambda r: torch.ones_like(r.selected).tril(),
        lambda r: r.selected & ~torch.eye(r.selected.shape[-1], dtype=torch.bool),
        lambda r: r.selected | torch.eye(r.selected.shape[-1], dtype=torch.bool).roll(1, -1),
    ],
    ids=["worse key", "later tie", "shifted", "everything", "forced left out", "future"],
)
def test_a_wrong_selection_is_seen(mask: Callable[[ReferenceResult], Tensor]) -> None:
    assert "selection" in blame(run(Fake(mask=mask), "ties"))


def test_a_worse_key_is_seen_among_scores_that_all_differ() -> None:
    (row,) = (row for row in run(Fake(mask=worse_key)).failures if row.quantity == "selection")
    assert "scores clearly more" in row.note
    assert row.error > row.allowed


def test_a_selection_without_a_choice_is_not_mistaken_for_agreement() -> None:
    report = verify(Fake(), shapes=[(1, 4)])
    assert report.notes
    assert "left out" in report.notes[0]


RELU = load_spec(
    """attention rectified { causal
      indexer { heads 1  dim 8  keys shared  score[t, s] = sum(j) relu(q[t, j] . k[s]) }
      select top 9 tokens }"""
)


def test_the_order_of_scores_of_zero_counts() -> None:
    """Keys that differ, and score 0 alike: the earlier ones are to be taken."""

    def later(result: ReferenceResult) -> Tensor:
        assert result.scores is not None
        mask = result.selected.clone()
        for t in range(mask.shape[1]):
            zeros = (result.scores[0, t, : t + 1] == 0).nonzero().flatten()
            taken = mask[0, t, zeros]
            mask[0, t, zeros] = taken.flip(-1)
        return mask

    assert run(Fake(spec=RELU)).ok
    (row, *_) = (row for row in run(Fake(mask=later, spec=RELU)).failures if row.quantity == "selection")
    assert "later of two scores of 0" in row.note
