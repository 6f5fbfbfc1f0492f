"""Long rows are selected from without writing their scores: the choice is the reference's, guessed well or badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import triton.language as tl
from torch import Tensor

import gsa_dsl
from gsa_dsl.codegen.emit import surveys
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.poison import PoisonedMemory
from tests.codegen.generated import EXAMPLES, plan_of_example
from tests.runtime.agreement import begins_with_what_all_chose
from tests.runtime.test_selection import CODES, SCORE, check, sharing, with_scores

TILES = KernelConfig(
    tile=8, block_keys=16, backward_keys=16, score_rows=16, score_keys=8, strip=1, scan_keys=16, list_keys=16, sample=8
)
LENGTH = 45
SPREAD = "budget[t] = clamp(9 * ema(var(score[t])) / var(score[t]) + mean(score[t]), 1, 12)\n  select top budget tokens"
BUDGETS = {
    "none": "budget[t] = clamp(0 * mean(score[t]), 0, 0)\n  select top budget tokens\n  always first 1, last 2",
    "one": "select top 1 tokens",
    "some": "select top 7 tokens",
    "all": "select top 200 tokens",
    "forced": "select top 5 tokens\n  always first 3, last 4",
    "first": "select top 3 tokens\n  always first 20",
    "by spread": SPREAD,
    "by spread beside forced": f"{SPREAD}\n  always first 2, last 3",
}


def compiled(
    clauses: str, config: KernelConfig = TILES, *, dim: int = 64, score: str = SCORE
) -> gsa_dsl.CompiledAttention:
    indexer = f"indexer {{ heads 1 dim {dim} keys shared score[t, s] = {score} }}"
    text = f"attention a {{ causal\n {indexer}\n {clauses} }}"
    return gsa_dsl.compile(text, heads=2, kv_heads=1, head_dim=16, backend="interpret", config=config)


@contextmanager
def surveying(attention: gsa_dsl.CompiledAttention, **constants: int) -> Iterator[dict[str, Any]]:
    """While open, rows from position 8 on are surveyed, by other constants of the module if given; tells of misses."""
    module: Any = attention.kernels
    told: dict[str, Any] = {"surveyed": 0, "missed": 0}

    class Told(module.Selector):  # type: ignore[misc, name-defined]
        def survey(self, first: int, count: int, *lists: Any) -> None:
            super().survey(first, count, *lists)
            told["surveyed"] += count * self.batch
            told["found"] = self.found.view(-1, 2)[:count].clone()
            told["missed"] += int(self.missed[:, first : first + count].sum())

    changed: dict[str, Any] = {"SURVEY_FROM": 8, "Selector": Told}
    changed |= {name: value if name == "SURVEY_ROWS" else tl.constexpr(value) for name, value in constants.items()}
    kept = {name: getattr(module, name) for name in changed}
    vars(module).update(changed)
    try:
        yield told
    finally:
        vars(module).update(kept)


def tables() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    normal = torch.randn(1, LENGTH, LENGTH, generator=generator).mul(8).round().div(8)
    few = torch.randint(0, 3, (1, LENGTH, LENGTH), generator=generator).float()
    numbers = torch.tensor([-1.0, 0.5, 2.3, *CODES.values()])  # no row whose budget is just a whole number
    odd = numbers[torch.randint(len(numbers), (1, LENGTH, LENGTH), generator=generator)]
    sizes = normal.sign() * 2.0 ** torch.randint(-40, 40, (1, LENGTH, LENGTH), generator=generator)
    alike = torch.full((1, LENGTH, LENGTH), 2.5)
    return {"normal": normal, "few values": few, "no numbers": odd, "one value": alike, "all sizes": sizes}


@pytest.mark.parametrize("scores", list(tables()))
@pytest.mark.parametrize("budget", list(BUDGETS))
def test_the_choice_is_the_references(budget: str, scores: str) -> None:
    attention = compiled(BUDGETS[budget])
    with surveying(attention) as told:
        check(attention, tables()[scores])
    assert told["surveyed"] == LENGTH - 8


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("scores", ["few values", "all sizes"])
def test_a_rank_is_found_in_whatever_steps(scores: str, steps: int) -> None:
    for budget in ("some", "by spread"):
        attention = compiled(BUDGETS[budget])
        with surveying(attention, NARROW_STEPS=steps, SURVEY_STEP=1):
            check(attention, tables()[scores])


def test_only_the_half_of_a_guess_with_the_threshold_is_kept() -> None:
    attention = compiled("select top 9 tokens")
    scores = torch.randn(1, 60, 60, generator=torch.Generator().manual_seed(8))
    with surveying(attention, MARKED=32) as told:
        check(attention, scores)
    kept, need = told["found"].unbind(1)
    # Rows so short are inside their guess almost whole.
    assert told["missed"] < 5
    assert 10 <= kept.float().mean() <= 25
    assert min((need > 0).sum(), (need <= 0).sum()) >= 5


@pytest.mark.parametrize("surveyed", [False, True])
def test_small_variances_of_large_scores_are_told_apart(surveyed: bool) -> None:
    """Also of rows so short that nothing bounds a guess."""
    attention = compiled("budget[t] = clamp(30000.3 * var(score[t]), 1, 12)\n  select top budget tokens")
    scores = tables()["normal"] / 64 + 128
    with surveying(attention) if surveyed else nullcontext():
        check(attention, scores)


@pytest.mark.parametrize(("step", "marked"), [(1, 4), (2, 4), (2, 16), (4, 4), (4, 16)])
def test_a_guess_that_misses_is_made_good(step: int, marked: int) -> None:
    for budget in ("some", "by spread beside forced"):
        attention = compiled(BUDGETS[budget])
        for scores in ("normal", "few values"):
            with surveying(attention, SURVEY_STEP=step, MARKED=marked) as told:
                check(attention, tables()[scores])
            assert told["missed"] > 0


def test_what_a_bad_guess_marked_is_taken_back() -> None:
    attention = compiled("select top 28 tokens")
    scores = torch.rand(1, 60, 60, generator=torch.Generator().manual_seed(5))
    scores[:, :, ::2] -= 10  # the sample sees no good key, and takes all good ones for better than the threshold
    with surveying(attention, SURVEY_STEP=2, MARKED=32) as told:
        check(attention, scores)
    assert told["missed"] > 0


# A sample is looked at whole, or if it is longer than 32 the best of it: that leaves a short one more to chance.
@pytest.mark.parametrize(("most", "sample", "misses"), [(3, 64, 0), (1, 32, 5)])
def test_a_good_guess_leaves_little_to_look_at(most: int, sample: int, misses: int) -> None:
    attention = compiled(f"select top {most} tokens")
    scores = torch.randn(1, 60, 60, generator=torch.Generator().manual_seed(1))
    with surveying(attention, SURVEY_STEP=1, MARKED=32, SAMPLE=sample) as told:
        check(attention, scores)
    assert told["surveyed"] == 52
    assert told["missed"] <= misses


@pytest.mark.parametrize("first", [0, 40])
def test_no_key_is_listed_for_a_query_that_is_not_there(first: int) -> None:
    """A list has no room for what all of the positions that fill a tile would choose."""
    attention = compiled(f"select top 2 tokens\n  always first {max(first, 1)}, last 1", score=f"{SCORE} + 1")
    length = 61
    scores = torch.randn(1, length, length, generator=torch.Generator().manual_seed(9))
    with PoisonedMemory(), surveying(attention) as told:
        _, aux = attention(**with_scores(scores), return_aux=True)
    lists = aux.selection.lists
    listed = torch.arange(lists.word.shape[2]) < lists.count[:, -1, None]
    assert told["surveyed"] == length - 8
    assert not (torch.where(listed, lists.word[:, -1].int(), 0) >> (length % TILES.tile)).any()


@pytest.mark.parametrize("tile", [2, 8, 16])
@pytest.mark.parametrize("scan_keys", [16, 64])
def test_lists_begin_with_what_every_query_of_a_tile_chose(tile: int, scan_keys: int) -> None:
    clauses = "select top 24 tokens\n  always first 2, last 1"
    attention = compiled(clauses, replace(TILES, tile=tile, scan_keys=scan_keys))
    with surveying(attention) as told:
        _, aux = attention(**with_scores(sharing(60)), return_aux=True)
    assert told["surveyed"] == 2 * (60 - 8)
    begins_with_what_all_chose(attention.kernels, aux.selection.lists)


@pytest.mark.parametrize("tiles", [{"strip": 4}, {"scan_keys": 64}], ids=["long strips", "long scans"])
def test_keys_that_are_kept_and_collected_come_in_steps_of_any_length(tiles: dict[str, int]) -> None:
    attention = compiled(BUDGETS["some"], replace(TILES, **tiles))
    scores = torch.randn(1, 60, 60, generator=torch.Generator().manual_seed(6))
    with PoisonedMemory(), surveying(attention) as told:
        check(attention, scores)
    assert told["missed"] < told["surveyed"]


@pytest.mark.parametrize("tile", [1, 2, 4, 16])
def test_words_of_every_width_hold_the_marks(tile: int) -> None:
    attention = compiled(BUDGETS["forced"], replace(TILES, tile=tile, score_rows=32))
    scores = torch.randn(1, 60, 60, generator=torch.Generator().manual_seed(2))
    check(attention, scores)


@pytest.mark.parametrize(
    "budget", ["select top 40 tokens", "budget[t] = clamp(40 + mean(score[t]), 30, 45)\n  select top budget tokens"]
)
def test_every_strip_of_a_row_tells_of_a_score_that_is_no_number(budget: str) -> None:
    """64 strips are read at a time: the one that begins with a query's own key is of the next 64."""
    length, first = 520, 64 * TILES.score_keys
    attention = compiled(budget, replace(TILES, sample=64), dim=1024)
    scores = torch.randn(1, length, length, generator=torch.Generator().manual_seed(7))
    scores[:, first, first] = CODES["inf"]
    operands = with_scores(scores, 1024)
    module: Any = attention.kernels
    with surveying(attention, MARK_STRIP=1, MARKED=256) as told:
        module.SURVEY_FROM = first
        selector = module.Selector(*operands["index"].values(), length)
        lists = module.empty_lists(1, 1, length, torch.device("cpu"))
        selector.choose(first, length - first, lists, 0)
    chosen = module.mask_from_lists(lists, length)
    assert (told["surveyed"], told["missed"]) == (length - first, 1)
    assert torch.equal(chosen, attention.reference(**operands).selected[:, first:])


def test_several_chunks_and_sequences_agree_with_one() -> None:
    attention = compiled(SPREAD)
    scores = torch.randn(2, 60, 60, generator=torch.Generator().manual_seed(4)).mul(4).round()
    operands = with_scores(scores)
    want, expected = attention(**operands, return_aux=True)
    with surveying(attention, MARKED=16, SURVEY_ROWS=32) as told:
        output, aux = attention(**operands, return_aux=True)
        streamed = attention(**operands)
    assert told["surveyed"] == 2 * 2 * 52  # with and without gradients
    assert torch.equal(aux.selection.mask(), expected.selection.mask())
    assert torch.equal(aux.budget, expected.budget)
    torch.testing.assert_close(aux.ema_inputs, expected.ema_inputs)
    torch.testing.assert_close(output, want)
    torch.testing.assert_close(streamed, want)


def test_what_is_surveyed() -> None:
    surveyed = {name for name in EXAMPLES if surveys(plan_of_example(name))}
    assert surveyed == {"gsa", "gsa_small", "gsa_soft", "sparse_only"}
    plan = plan_of_example("gsa")
    assert not surveys(replace(plan, config=replace(plan.config, tile=32)))
    assert not surveys(replace(plan, config=replace(plan.config, score_rows=8)))
    assert "survey_kernel" not in Path("tests/golden/generated/packed/triton.py").read_text(encoding="utf-8")
