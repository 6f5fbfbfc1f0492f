"""The schedules of the kernels mean the same: union or gather forward, queries or keys outermost backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import gsa_dsl
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.ir.lower import lower
from gsa_dsl.ir.plan import Grain, HeadShape
from gsa_dsl.options import KernelConfig
from gsa_dsl.passes.schedule import default_config, gathers, kv_outer, schedules
from gsa_dsl.sema.check import parse_and_check
from gsa_dsl.testing.inputs import Inputs, make_inputs
from tests.runtime.agreement import agree

SHAPE = {"heads": 6, "kv_heads": 2, "head_dim": 16}
TILES = KernelConfig(
    tile=8, block_keys=16, backward_keys=8, score_rows=16, score_keys=16, strip=1, scan_keys=32, list_keys=16, sample=8,
    backward_rows=16, gather_keys=16,
)  # fmt: skip
INDEXER = (
    "indexer { heads 2  dim 16  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) } "
    "train indexer with kl"
)
TOKENS = {
    "gates": "gate query = sigmoid(linear(x)) per element  gate output = sigmoid(linear(x)) per head "
    f"{INDEXER} select top 9 tokens",
    "forced and a sink": f"{INDEXER} select top 7 tokens always first 2, last 3 sink",
    "a choice a kv head": INDEXER.replace("shared", "per kv_head") + " select top 9 tokens per kv_head",
    "slopes": f"{INDEXER} select top 9 tokens logit[t, s] = q[t] . k[s] / sqrt(head_dim) - slope[h] * distance",
    "documents": f"{INDEXER} select top 9 tokens always last 2",
    "both ways": f"{INDEXER} select top 9 tokens always last 2",
}
BLOCKS = {
    "tokens' scores": f"{INDEXER} select top 3 blocks(8) by max always last 1",
    "own keys": "indexer { keys attention  pool mean  score[t, s] = sum(j) q[t, j] . k[s] } "
    "select top 2 blocks(16) per kv_head always diagonal",
    "shared by runs": "indexer { keys attention  pool max  score[t, s] = sum(j) q[t, j] . k[s] } "
    "select top 2 blocks(16) per kv_head per queries(16) always diagonal",
    "documents": f"{INDEXER} select top 3 blocks(8) by max always first 1, last 1",
    "both ways": f"{INDEXER} select top 3 blocks(8) by mean always last 1",
    "through the logits": f"{INDEXER} select top 3 blocks(8) by max "
    "logit[t, s] = q[t] . k[s] / sqrt(head_dim) + 0.1 * score[t, s]",
}
SEES = {"documents": "causal documents", "both ways": "full"}
Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    cache = tmp_path_factory.mktemp("cache")

    def make(specs: dict[str, str], name: str, **changed: Any) -> gsa_dsl.CompiledAttention:
        text = f"attention small {{ {SEES.get(name, 'causal')} {specs[name]} }}"
        config = replace(TILES, **changed)
        return gsa_dsl.compile(text, **SHAPE, backend="interpret", config=config, cache_dir=cache)

    return make


def inputs_of(attention: gsa_dsl.CompiledAttention, length: int = 45, batch: int = 1) -> Inputs:
    return make_inputs(attention.spec, batch=batch, length=length, seed=3, **SHAPE)


def results(attention: gsa_dsl.CompiledAttention, x: Inputs, **options: Any) -> dict[str, Tensor]:
    """Output and every gradient of a call."""
    x.requires_grad_()
    output = attention(x.query, x.key, x.value, **x.keywords(), **options)
    torch.autograd.backward(output, torch.randn(output.shape, generator=torch.Generator().manual_seed(1)))
    made = {"output": output.detach(), **x.gradients()}
    x.zero_grad()
    return made


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENS)
def test_union_and_gather_agree(compiled: Compile, name: str) -> None:
    x = inputs_of(compiled(TOKENS, name))
    union, mixed, gather = (compiled(TOKENS, name, gather=share) for share in (100, 50, 0))
    made = [results(attention, x) for attention in (union, mixed, gather)]
    alike(made[0], made[1])
    alike(made[0], made[2])
    agree(mixed, x)
    # In the mixed one tiles of both kinds are met.
    lists = mixed(x.query, x.key, x.value, **x.keywords(), return_aux=True)[1].selection.lists
    unlike = lists.count * 100 > lists.total * 50
    assert unlike.any()
    assert not unlike.all()
    assert not hasattr(union.kernels, "gather_fwd_kernel")


def test_a_gather_leaves_nothing_to_the_union(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile is attended to once: without the gather's launch what it would have written stays as it was."""
    attention = compiled(TOKENS, "gates", gather=50)
    x, module = inputs_of(attention), attention.kernels
    whole = attention(x.query, x.key, x.value, **x.keywords())
    lists = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)[1].selection.lists
    unlike = (lists.count * 100 > lists.total * 50).repeat_interleave(module.TILE.value, 1)[:, None, :45, None]

    class Nothing:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            return lambda *args, **options: None

    monkeypatch.setattr(module, "gather_fwd_kernel", Nothing())
    monkeypatch.setattr(torch, "empty_like", torch.zeros_like)
    part = attention(x.query, x.key, x.value, **x.keywords())
    assert torch.equal(part, torch.where(unlike, 0.0, whole))


def test_a_given_choice_may_be_of_more_keys_than_a_gather_holds(compiled: Compile) -> None:
    attention = compiled(TOKENS, "gates", gather=0)
    x = inputs_of(attention)
    every = torch.ones(1, 45, 45, dtype=torch.bool).tril()
    agree(attention, x, selection=every)
    few = every & (torch.rand(every.shape, generator=torch.Generator().manual_seed(5)) < 0.15)
    few[:, 17] = False  # a query may choose nothing
    agree(attention, inputs_of(attention), selection=few)


def test_a_gather_reads_no_other_document(compiled: Compile) -> None:
    """What fills its last step is multiplied by 0, and may be no NaN of a key that its query does not see."""
    attention = compiled(TOKENS, "documents", gather=0)
    documents = (torch.arange(45) // 15).expand(1, -1)
    for number in range(3):
        x = inputs_of(attention)
        x.value[:, :, documents[0] == number] = torch.nan
        output = attention(x.query, x.key, x.value, **{**x.keywords(), "documents": documents})
        assert torch.equal(output.isnan().any(-1).any(1), documents == number)


def test_a_gather_in_parts_is_a_gather_in_one(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compiled(TOKENS, "forced and a sink", gather=0)
    x = inputs_of(attention)
    whole = results(attention, x)
    monkeypatch.setattr(attention.kernels, "WORKSPACE", 1)
    for name, tensor in results(attention, x).items():
        if not name.startswith("query"):
            torch.testing.assert_close(tensor, whole[name], rtol=0, atol=1e-6)
        else:
            assert torch.equal(tensor, whole[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_keys_and_queries_outermost_agree(compiled: Compile, name: str) -> None:
    x = inputs_of(compiled(BLOCKS, name))
    by_query = results(compiled(BLOCKS, name, kv_outer=0), x)
    # A block's queries in one program, and in shares of one tile.
    for most in (64, 1):
        alike(by_query, results(compiled(BLOCKS, name, kv_outer=most), x))
    agree(compiled(BLOCKS, name, kv_outer=2), x)


def test_blocks_have_a_deterministic_backward(compiled: Compile) -> None:
    attention, by_query = (compiled(BLOCKS, "own keys", kv_outer=most) for most in (1, 0))
    x = inputs_of(attention)
    shares: list[int] = []
    original = attention.kernels.choosers
    free = results(attention, x)
    torch.use_deterministic_algorithms(True)
    try:
        attention.kernels.choosers = lambda *args: shares.append(original(*args)[2].shape[1]) or original(*args)
        once, twice = results(attention, x), results(attention, x)
        with pytest.raises(RuntimeError, match="key and value are added atomically"):
            results(by_query, x)
    finally:
        torch.use_deterministic_algorithms(False)
        attention.kernels.choosers = original
    # A program a block, and one to spare for what would be left over.
    lists = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)[1].selection.lists
    assert shares == [3 + lists.pos.shape[2]] * 2
    for name, tensor in once.items():
        assert torch.equal(tensor, twice[name])
    alike(free, once)


def test_what_did_not_choose_a_block_has_no_weight_there(compiled: Compile) -> None:
    """Logits far below 0 have such a log-sum-exp: a query of zeros, as one that is not read, would weigh infinitely."""
    attention, by_query = (compiled(BLOCKS, "tokens' scores", kv_outer=most) for most in (64, 0))
    x = inputs_of(attention)
    x = x.replaced({"query": 8 + 0.1 * x.query, "key": -5 + 0.1 * x.key})
    made, expected = results(attention, x), results(by_query, x)
    for name, tensor in made.items():
        torch.testing.assert_close(
            tensor, expected[name], rtol=1e-3, atol=1e-3, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize(("tile", "backward_rows"), [(8, 16), (8, 32), (32, 16)])
def test_part_of_a_tile_may_meet_a_block_at_a_time(compiled: Compile, tile: int, backward_rows: int) -> None:
    for specs, name in ((BLOCKS, "own keys"), (BLOCKS, "documents"), (TOKENS, "both ways")):
        attention = compiled(specs, name, tile=tile, backward_rows=backward_rows, kv_outer=1)
        assert attention.kernels.KEY_ROWS.value == backward_rows
        agree(attention, inputs_of(attention, 37, batch=1))
        agree(attention, inputs_of(attention, 37, batch=1), phase="warmup") if specs is TOKENS else None


@pytest.mark.parametrize(("heads", "kv_heads", "share"), [(64, 4, 40), (32, 8, 66), (8, 8, 100)])
def test_the_planner_gathers_where_a_query_costs_less(heads: int, kv_heads: int, share: int) -> None:
    assert default_config(HeadShape(heads, kv_heads, 128), Grain()).gather == share
    assert default_config(HeadShape(heads, kv_heads, 128), None).gather == 100


def test_what_a_plan_cannot_do_it_has_no_kernel_for() -> None:
    def plan(text: str, **changed: Any) -> Any:
        spec = parse_and_check(Source("small.gsa", f"attention small {{ causal {text} }}"))
        return lower(spec, HeadShape(**SHAPE), config=replace(TILES, gather=50, **changed))

    assert gathers(plan(TOKENS["gates"]))
    assert "over 50 %" in schedules(plan(TOKENS["gates"]))["forward"]
    assert schedules(replace(plan(TOKENS["gates"]), config=replace(TILES, gather=0)))["forward"] == "a query at a time"
    assert "added atomically" in schedules(plan(TOKENS["gates"]))["backward"]
    assert "64 tiles of queries a program" in schedules(plan(BLOCKS["own keys"]))["backward"]
    assert not gathers(plan(BLOCKS["own keys"]))
    assert not gathers(plan(f"{INDEXER} select top 9 tokens per queries(4)"))
    assert not gathers(plan(TOKENS["gates"] + " logit[t, s] = q[t] . k[s] + score[t, s]"))
    assert kv_outer(plan(BLOCKS["own keys"]))
    # A step of the walk must lie within a block.
    assert not kv_outer(plan(BLOCKS["own keys"], backward_keys=32))
    assert not kv_outer(plan(TOKENS["gates"]))


def test_shares_in_percent_are_refused_beyond_a_hundred() -> None:
    with pytest.raises(ValueError, match=r"config\.gather must be a percentage, 0 to 100, got 101"):
        replace(TILES, gather=101)
    with pytest.raises(ValueError, match=r"config\.kv_outer must be a power of two, got 3"):
        replace(TILES, kv_outer=3)
