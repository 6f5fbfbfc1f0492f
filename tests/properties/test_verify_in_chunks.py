"""A sequence too long to compare at once is compared some queries at a time: nothing else changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import gsa_dsl
from gsa_dsl.reference.dense import ReferenceResult
from gsa_dsl.testing import chunks
from gsa_dsl.testing.verify import verify
from tests.properties.test_verify_blocks import SPECS
from tests.properties.test_verify_catches_mistakes import SPEC, Fake, blame

LENGTH = 45
EVERY = {"tokens": SPEC, **SPECS}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_PAIRS", 2 * LENGTH * 8)


@pytest.mark.parametrize("name", list(EVERY))
def test_a_faithful_implementation_passes(name: str) -> None:
    spec = EVERY[name]
    parts = chunks.chunks(spec, 2, 2, LENGTH)
    assert len(parts) > 4
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert spec.selection is not None
    assert all(part.start % spec.selection.queries == 0 for part in parts)
    report = verify(Fake(spec=spec), shapes=[(2, LENGTH)], patterns=("normal", "ties"))
    assert report.ok, str(report)
    assert "selection" in {row.quantity for row in report.rows}


def late(result: ReferenceResult) -> torch.Tensor:
    """The choice with the best key of the last query left out, and the worst of all taken."""
    wrong = result.selected.clone()
    assert result.scores is not None
    scores = result.scores[0, -1]
    taken = wrong[0, -1].clone()
    taken[-2:] = False  # those are forced
    wrong[0, -1, torch.where(taken, scores, -torch.inf).argmax()] = False
    wrong[0, -1, torch.where(wrong[0, -1], torch.inf, scores).argmin()] = True
    return wrong


def test_a_wrong_choice_of_the_last_chunk_is_seen() -> None:
    report = verify(Fake(mask=late), shapes=[(2, LENGTH)], patterns=("normal",))
    assert "selection" in blame(report)


@pytest.mark.parametrize("name", ["output", "lse", "indexer_loss", "ema_inputs"])
def test_what_is_off_at_the_end_is_seen(name: str) -> None:
    def change(result: ReferenceResult, inputs: dict[str, torch.Tensor]) -> ReferenceResult:
        value = getattr(result, name).clone()
        value.view(-1)[-1] *= 1.01
        return dataclasses.replace(result, **{name: value})

    report = verify(Fake(change=change), shapes=[(2, LENGTH)], patterns=("normal",))
    assert name in blame(report)


def test_a_gradient_that_forgets_the_last_queries_is_seen() -> None:
    def change(result: ReferenceResult, inputs: dict[str, torch.Tensor]) -> ReferenceResult:
        output = torch.cat((result.output[:, :, :-3], result.output[:, :, -3:].detach()), 2)
        return dataclasses.replace(result, output=output)

    report = verify(Fake(change=change), shapes=[(2, LENGTH)], patterns=("normal",))
    assert {"d query", "d key", "d value"} <= blame(report)


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_rows_of_a_choice_are_those_of_its_mask(backend: str) -> None:
    text = "attention a { causal indexer { heads 1 dim 8 keys shared score[t, s] = sum(j) q[t, j] . k[s] }"
    for select in ("select top 3 tokens", "select top 2 blocks(4) by max per kv_head"):
        a = gsa_dsl.compile(f"{text} {select} }}", heads=4, kv_heads=2, head_dim=16, backend=backend)
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, n, LENGTH, 16, generator=generator) for n in (4, 2, 2))
        own = (2,) if "kv_head" in select else ()
        index = {"q": torch.randn(2, *own, 1, LENGTH, 8, generator=generator)}
        index["k"] = torch.randn(2, LENGTH, 8, generator=generator)
        _, aux = a(q, k, v, index=index, return_aux=True)
        for rows in (slice(0, LENGTH), slice(0, 1), slice(7, 33), slice(40, LENGTH)):
            assert torch.equal(aux.selection.mask(rows), aux.selection.mask()[..., rows, :])
