"""Which keys are chosen: exactly the reference's, whatever the scores, the tiles and the chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.bounds import CheckedAddresses
from gsa_dsl.testing.inputs import make_inputs
from tests.codegen.generated import PARAMS, ROOT
from tests.runtime.agreement import begins_with_what_all_chose

DIM = 64  # of the indexer: the longest sequence whose keys can be unit vectors, which makes every score a free choice
TILES = KernelConfig(
    tile=8,
    block_keys=16,
    backward_keys=16,
    score_rows=32,
    score_keys=32,
    strip=1,
    scan_keys=16,
    list_keys=32,
    sample=16,
)
# Dot products above 200 stand for what a score may also be: NaN, +inf and -inf.
CODES = {"nan": 250.0, "inf": 350.0, "-inf": 450.0}
SCORE = """where(sum(j) q[t, j] . k[s] > 400, 0 - exp(100 * sum(j) q[t, j] . k[s]),
      where(sum(j) q[t, j] . k[s] > 300, exp(100 * sum(j) q[t, j] . k[s]),
        where(sum(j) q[t, j] . k[s] > 200, exp(100 * sum(j) q[t, j] . k[s]) - exp(100 * sum(j) q[t, j] . k[s]),
          sum(j) q[t, j] . k[s])))"""
BUDGETS = {
    "none": "budget[t] = clamp(0 * max(score[t]), 0, 0)\n  select top budget tokens\n  always first 1, last 2",
    "one": "select top 1 tokens",
    "some": "select top 7 tokens",
    "half": "budget[t] = clamp(0.5 * count(score[t]), 0, 64)\n  select top budget tokens",
    "all": "select top 200 tokens",
    "by score": "budget[t] = clamp(4 + max(score[t]) + min(score[t]), 0, 9)\n  select top budget tokens",
    "forced": "select top 5 tokens\n  always first 3, last 4",
    "first": "select top 3 tokens\n  always first 25",
    "last": "budget[t] = clamp(max(score[t]), 0, 6)\n  select top budget tokens\n  always last 17",
    "mass": "budget[t] = min(top_p(score[t], 0.7331), 64)\n  select top budget tokens",
    "levels": "budget[t] = min(above(score[t], 0.5) + above(score[t], -1.5) + 3.1 * entropy(score[t]), 64)\n"
    "  select top budget tokens",
}
FULL = ("half", "forced", "last", "mass")
Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    cache = tmp_path_factory.mktemp("cache")

    def make(
        clauses: str, backend: str, config: KernelConfig = TILES, *, dim: int = DIM, kind: str = "causal", **params: int
    ) -> gsa_dsl.CompiledAttention:
        indexer = f"indexer {{ heads 1  dim {dim}  keys shared\n    score[t, s] = {SCORE}\n  }}"
        text = clauses if "attention" in clauses else f"attention a {{ {kind}\n  {indexer}\n  {clauses}\n}}"
        shape = {"heads": 2, "kv_heads": 1, "head_dim": 16}
        return gsa_dsl.compile(text, **shape, backend=backend, config=config, cache_dir=cache, params=params)

    return make


def with_scores(scores: Tensor, dim: int = DIM) -> dict[str, Any]:
    """Operands whose indexer scores are ``scores`` [batch, L, L] (but for :data:`CODES`), exactly in any precision."""
    batch, length, _ = scores.shape
    generator = torch.Generator().manual_seed(0)
    q = torch.zeros(batch, 1, length, dim)
    q[:, 0, :, :length] = scores
    return {
        "query": torch.randn((batch, 2, length, 16), generator=generator),
        "key": torch.randn((batch, 1, length, 16), generator=generator),
        "value": torch.randn((batch, 1, length, 16), generator=generator),
        "index": {"q": q, "k": torch.eye(dim)[:length].expand(batch, -1, -1).contiguous()},
    }


def check(attention: gsa_dsl.CompiledAttention, scores: Tensor) -> None:
    """The chosen set and its size are the reference's."""
    operands = with_scores(scores)
    exact = attention.reference(**operands)
    output, aux = attention(**operands, return_aux=True)
    wrong = aux.selection.mask() ^ exact.selected
    assert not wrong.any(), f"(batch, query, key) {wrong.nonzero()[:5].tolist()} of {scores.tolist()}"
    assert torch.equal(aux.budget.long(), exact.budget)
    torch.testing.assert_close(output.double(), exact.output, rtol=1e-5, atol=1e-5)


@st.composite
def score_tables(draw: st.DrawFn) -> Tensor:
    """Few distinct values, hence many ties; constant rows; values that are no numbers."""
    length = draw(st.sampled_from((1, 5, 17, 40)))
    numbers = draw(st.sampled_from(((0.0,), (0.0, 1.0), (-2.0, -1.0, 0.25, 3.0), (-(2.0**20), 2.0**-20, 5.5, 1.0))))
    others = draw(st.sampled_from(((), ("nan",), ("nan", "inf", "-inf"))))
    values = torch.tensor([*numbers, *(CODES[name] for name in others)])
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    table = values[torch.randint(len(values), (2, length, length), generator=generator)]
    if draw(st.booleans()):
        table[0, length // 2] = values[-1]  # one row of a single value, perhaps of NaN
    return table


@pytest.mark.parametrize("backend", ["torch", "interpret"])
@pytest.mark.parametrize(
    ("budget", "kind"), [*((budget, "causal") for budget in BUDGETS), *((budget, "full") for budget in FULL)]
)
def test_the_chosen_set_is_the_references(compiled: Compile, budget: str, kind: str, backend: str) -> None:
    attention = compiled(BUDGETS[budget], backend, kind=kind)

    @settings(
        max_examples=40 if backend == "torch" else 3,
        phases=(Phase.explicit, Phase.generate, *([Phase.shrink] if backend == "torch" else [])),
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(scores=score_tables())
    def run(scores: Tensor) -> None:
        check(attention, scores)

    run()


@pytest.mark.parametrize(
    ("budget", "kind"),
    [
        ("select top 100 tokens", "causal"),
        (f"{BUDGETS['half']}\n  always first 3, last 4", "causal"),
        (f"{BUDGETS['half']}\n  always first 3, last 90", "full"),
    ],
    ids=["100", "half", "full"],
)
def test_long_rows_are_exact_too(compiled: Compile, monkeypatch: pytest.MonkeyPatch, budget: str, kind: str) -> None:
    """So many scores that a sample of them brackets the threshold; ties, trends and outliers break such guesses."""
    length, dim = 400, 512
    tiles = KernelConfig(**{**_fields(TILES), "scan_keys": 64, "sample": 64})
    attention = compiled(budget.replace("64", str(length)), "interpret", tiles, dim=dim, kind=kind)
    position = torch.arange(length)
    generator = torch.Generator().manual_seed(3)
    normal = torch.randn((length, length), generator=generator)
    kinds = (
        normal,
        torch.randint(0, 3, (length, length), generator=generator),
        position.expand(length, length),
        -position.expand(length, length),
        torch.full((length, length), 1.5),
        (position % 6 != 0).expand(length, length),  # the sample takes every sixth
        torch.where(position % 3 == 0, CODES["nan"], normal),
        (1 + position * 7 % 200 * 2.0**-23).expand(
            length, length
        ),  # one float after the other: a bracket's edge is one
    )
    scores = torch.stack([kinds[t % len(kinds)][t].float() for t in range(length)])
    operands = with_scores(scores[None], dim)
    exact = attention.reference(**operands)

    # One chunk, the last, is enough for the interpreter.
    module = attention.kernels
    monkeypatch.setattr(module, "WORKSPACE", 1)
    selector = module.Selector(operands["index"]["q"], operands["index"]["k"], length)
    first, count = selector.chunks()[-2]
    assert count == 32
    lists = module.empty_lists(1, count // tiles.tile, length, torch.device("cpu"))
    selector.choose(first, count, lists, 0)
    chosen = module.mask_from_lists(lists, length)
    assert exact.budget is not None
    assert torch.equal(selector.budget[:, first : first + count].long(), exact.budget[:, first : first + count])
    assert torch.equal(chosen, exact.selected[:, first : first + count])


@pytest.mark.parametrize("length", [7, 40])
def test_score_tiles_taller_than_wide_stay_inside_their_rows(compiled: Compile, length: int) -> None:
    """The last tile of queries may reach past the last block of keys: it must not write into the next query's row."""
    tall = replace(TILES, score_rows=64, score_keys=16, strip=4)
    scores = torch.randn((2, length, length), generator=torch.Generator().manual_seed(3))
    check(compiled(BUDGETS["half"], "interpret", tall), scores)


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_equal_scores_go_to_the_smaller_position(compiled: Compile, backend: str) -> None:
    _, aux = compiled(BUDGETS["some"], backend)(**with_scores(torch.zeros(1, 40, 40)), return_aux=True)
    position = torch.arange(40)
    assert torch.equal(aux.selection.mask()[0], (position < 7) & (position <= position[:, None]))


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_a_row_without_any_number_attends_to_nothing(compiled: Compile, backend: str) -> None:
    scores = torch.zeros(1, 20, 20)
    scores[0, 7] = CODES["nan"]
    operands = with_scores(scores)
    operands["query"].requires_grad_()
    output, aux = compiled(BUDGETS["some"], backend)(**operands, return_aux=True)
    torch.autograd.backward(output, torch.randn_like(output))
    assert aux.budget[0, 7] == 0
    assert not aux.selection.mask()[0, 7].any()
    assert output[0, :, 7].eq(0).all()
    assert aux.lse[0, :, 7].eq(-torch.inf).all()
    assert operands["query"].grad[0, :, 7].eq(0).all()
    assert operands["query"].grad.isfinite().all()


@pytest.mark.parametrize("length", [1, 7, 16, 33])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tile", [1, 8, 16, 32])
def test_lists_and_masks_are_inverse(compiled: Compile, tile: int, density: float, length: int) -> None:
    config = KernelConfig(tile=tile, block_keys=16, backward_keys=32)
    generator = torch.Generator().manual_seed(tile)
    mask = (torch.rand((2, length, length), generator=generator) < density).tril()
    for backend in ("interpret", "torch"):
        module = compiled(BUDGETS["some"], backend, config).kernels
        again = module.mask_from_lists(module.lists_from_mask(mask), length)
        assert again.dtype is torch.bool
        assert torch.equal(again, mask)


@pytest.mark.parametrize("tile", [1, 2, 8, 16, 32])
def test_kernels_and_masks_agree_on_the_lists(compiled: Compile, tile: int) -> None:
    """The lists that the kernel wrote and those made of their mask choose the same, whatever the word's width."""
    config = KernelConfig(**{**_fields(TILES), "tile": tile})
    attention = compiled(BUDGETS["forced"], "interpret", config)
    generator = torch.Generator().manual_seed(tile)
    operands = with_scores(torch.randint(-2, 3, (2, 37, 37), generator=generator).float())
    output, aux = attention(**operands, return_aux=True)
    exact = attention.reference(**operands)
    assert torch.equal(aux.selection.mask(), exact.selected)
    again, _ = attention(**operands, selection=aux.selection.mask(), return_aux=True)
    torch.testing.assert_close(again, output, rtol=1e-6, atol=1e-6)
    lists = attention.kernels.lists_from_mask(aux.selection.mask())
    assert torch.equal(aux.selection.lists.common, lists.common)


def sharing(length: int) -> torch.Tensor:
    """Scores by which neighbours choose partly alike, [2, length, length]."""
    generator = torch.Generator().manual_seed(8)
    scores = torch.randn(2, 1, length, generator=generator) + 0.4 * torch.randn(2, length, length, generator=generator)
    return scores.mul(64).round().div(64)


@pytest.mark.parametrize("tile", [2, 8, 16, 32])
def test_lists_begin_with_what_every_query_of_a_tile_chose(compiled: Compile, tile: int) -> None:
    config = KernelConfig(**{**_fields(TILES), "tile": tile})
    attention = compiled("select top 24 tokens\n  always first 2", "interpret", config)
    _, aux = attention(**with_scores(sharing(60)), return_aux=True)
    begins_with_what_all_chose(attention.kernels, aux.selection.lists)
    begins_with_what_all_chose(attention.kernels, attention.kernels.lists_from_mask(aux.selection.mask()))


def test_what_every_query_of_a_tile_chose_is_attended_to_without_masks(compiled: Compile) -> None:
    """Whole blocks of such keys are not looked up in the words: an output does not change with these."""
    attention = compiled("select top 40 tokens", "interpret", replace(TILES, block_keys=16))
    operands = with_scores(sharing(60))
    output, aux = attention(**operands, return_aux=True)
    lists = aux.selection.lists
    whole = torch.arange(lists.pos.shape[2]) < (lists.common // 16 * 16)[..., None]
    assert whole.any()
    changed = lists._replace(word=torch.where(whole, 0, lists.word))
    again = attention(**operands, selection=replace(aux.selection, lists=changed))
    assert torch.equal(again, output)


def _fields(config: KernelConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in KernelConfig.__dataclass_fields__}


GSA = (ROOT / "examples" / "gsa.gsa").read_text(encoding="utf-8")


def gsa_inputs(attention: gsa_dsl.CompiledAttention, length: int, **options: Any) -> Any:
    return make_inputs(attention.spec, batch=1, length=length, heads=2, kv_heads=1, head_dim=16, **options)


def test_several_chunks_are_one_chunk(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compiled(GSA, "interpret", **PARAMS["gsa"])
    length = 75
    x = gsa_inputs(attention, length, pattern="ties")
    module = attention.kernels

    def run() -> tuple[Tensor, ...]:
        output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        return output, aux.lse, aux.budget, aux.ema_inputs, aux.indexer_loss, aux.selection.mask()

    assert module.chunk_rows(1, length) >= length
    whole = run()
    monkeypatch.setattr(module, "WORKSPACE", 1)
    assert module.chunk_rows(1, length) == 32
    for one, other in zip(whole, run(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("workspace", [1, 1 << 28])
def test_streaming_gives_what_training_gives_bit_for_bit(
    compiled: Compile, monkeypatch: pytest.MonkeyPatch, workspace: int
) -> None:
    attention = compiled(GSA, "interpret", **PARAMS["gsa"])
    x = gsa_inputs(attention, 70)
    monkeypatch.setattr(attention.kernels, "WORKSPACE", workspace)
    streamed: list[Any] = []
    stream = attention.kernels.stream
    monkeypatch.setattr(attention.kernels, "stream", lambda *args: streamed.append(args) or stream(*args))
    x.requires_grad_()
    trained = attention(x.query, x.key, x.value, **x.keywords())
    assert trained.requires_grad
    assert not streamed
    with torch.no_grad():
        inferred = attention(x.query, x.key, x.value, **x.keywords())
    assert len(streamed) == 1
    assert torch.equal(inferred, trained)
    monkeypatch.setattr(attention.kernels, "STREAM_ROWS", 1)  # a launch for each chunk
    with torch.no_grad(), CheckedAddresses():
        assert torch.equal(attention(x.query, x.key, x.value, **x.keywords()), trained)


def test_torch_in_chunks_is_torch_in_one(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compiled(GSA, "torch", **PARAMS["gsa"])
    x = gsa_inputs(attention, 50, dtype=torch.float64, pattern="ties").requires_grad_()

    def run() -> tuple[Any, ...]:
        output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        x.zero_grad()
        torch.autograd.backward([output, aux.indexer_loss], [torch.ones_like(output), torch.tensor(1.0)])
        return (
            output,
            aux.lse,
            aux.indexer_loss,
            aux.ema_inputs,
            aux.budget,
            aux.selection.mask(),
            *x.gradients().values(),
        )

    whole = run()
    monkeypatch.setattr(attention.kernels, "CHUNK", 7 * 2 * 50)
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6 if one.dtype is torch.float32 else 1e-10, atol=1e-10)


def test_repeated_runs_choose_the_same(compiled: Compile, tmp_path: Path) -> None:
    attention = compiled(GSA, "interpret", **PARAMS["gsa"])
    x = gsa_inputs(attention, 33)
    first, second = (attention(x.query, x.key, x.value, **x.keywords(), return_aux=True) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].selection.mask(), second[1].selection.mask())
