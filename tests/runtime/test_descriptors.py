"""Keys and values loaded by descriptors: where, and that what a descriptor cannot tell is loaded all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.errors import InterpreterError

import gsa_dsl
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.ir.lower import lower
from gsa_dsl.ir.plan import HeadShape
from gsa_dsl.options import KernelConfig
from gsa_dsl.passes.schedule import default_config, describes, in_pieces
from gsa_dsl.sema.check import parse_and_check
from gsa_dsl.testing.bounds import CheckedAddresses
from gsa_dsl.testing.inputs import Inputs, make_inputs
from tests.runtime.agreement import agree

TILES = KernelConfig(
    tile=8, block_keys=16, backward_keys=16, score_rows=16, score_keys=16, strip=1, scan_keys=32, list_keys=16, sample=8
)
WINDOW = "always first 2, last 9"
BLOCKS = (
    "indexer { keys attention  pool mean  score[t, s] = sum(j) q[t, j] . k[s] } "
    "select top 2 blocks(16) per kv_head always diagonal"
)
SLOPES = "logit[t, s] = q[t] . k[s] / sqrt(head_dim) - slope[h] * distance"
Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    cache = tmp_path_factory.mktemp("cache")

    def make(text: str, head_dim: int = 16, **options: Any) -> gsa_dsl.CompiledAttention:
        shape = {"heads": 4, "kv_heads": 2, "head_dim": head_dim}
        spec = f"attention small {{ causal {text} }}"
        return gsa_dsl.compile(spec, **shape, backend="interpret", config=TILES, cache_dir=cache, **options)

    return make


def inputs_of(attention: gsa_dsl.CompiledAttention, batch: int = 2) -> Inputs:
    head_dim = attention.meta["head_dim"]
    return make_inputs(attention.spec, batch=batch, length=37, seed=3, heads=4, kv_heads=2, head_dim=head_dim)


def told(attention: gsa_dsl.CompiledAttention, x: Inputs) -> set[bool]:
    """Whether the launches of a step forward and backward took descriptors."""
    module = attention.kernels
    original, seen = module.described, []

    def watched(*args: Any) -> Any:
        made = original(*args)
        seen.append(made[1])
        return made

    module.described = watched
    try:
        agree(attention, x)
    finally:
        module.described = original
    assert seen
    return set(seen)


def moved(x: Tensor) -> Tensor:
    """The same values, 4 bytes behind an address that is a multiple of 16."""
    memory = torch.empty(x.numel() + 8)
    place = (-memory.data_ptr() // 4) % 4 + 1
    return memory[place : place + x.numel()].view(x.shape).copy_(x.detach())


def narrowed(x: Tensor) -> Tensor:
    """The same values, with steps of positions that are no multiples of 16 bytes."""
    return torch.cat([x, x[..., :2]], -1).detach()[..., : x.shape[-1]]


@pytest.mark.parametrize("text", [WINDOW, BLOCKS, SLOPES, ""], ids=["window", "blocks", "slopes", "dense"])
def test_what_lies_in_pieces_is_loaded_by_descriptors(compiled: Compile, text: str) -> None:
    attention = compiled(text)
    assert told(attention, inputs_of(attention)) == {True}
    for name, change in (("key", moved), ("value", moved), ("key", narrowed)):
        x = inputs_of(attention)
        assert told(attention, x.replaced({name: change(getattr(x, name))})) == {False}


def test_the_step_of_a_single_entry_does_not_matter(compiled: Compile) -> None:
    attention = compiled(WINDOW)
    x = inputs_of(attention, batch=1)
    key = x.key.detach().as_strided(x.key.shape, (3, *x.key.stride()[1:]))
    assert told(attention, x.replaced({"key": key})) == {True}


def test_one_sequence_for_a_batch_has_no_descriptor(compiled: Compile) -> None:
    attention = compiled(WINDOW)
    x = inputs_of(attention)
    assert told(attention, x.replaced({"key": x.key.detach()[:1].expand_as(x.key)})) == {False}


@pytest.mark.parametrize("head_dim", [12, 20, 24])
def test_features_that_are_no_power_of_two(compiled: Compile, head_dim: int) -> None:
    attention = compiled(WINDOW, head_dim=head_dim)
    assert told(attention, inputs_of(attention)) == {head_dim % 8 == 0}


def test_values_of_another_width(compiled: Compile) -> None:
    attention = compiled(WINDOW, value_dim=24)
    x = make_inputs(attention.spec, batch=2, length=37, seed=3, heads=4, kv_heads=2, head_dim=16, value_dim=24)
    assert told(attention, x) == {True}


def test_a_descriptor_that_leads_outside_is_seen(compiled: Compile) -> None:
    attention = compiled(WINDOW)
    x, module = inputs_of(attention), attention.kernels
    original = module.descriptor

    def longer(x: Tensor, block: Any, width: Any) -> Any:
        made = original(x, block, width)
        made.shape[2] += 1
        return made

    module.descriptor = longer
    try:
        with (
            pytest.raises(InterpreterError, match=r"OutOfBoundsError.*past the end of (keys|values)"),
            CheckedAddresses(),
        ):
            attention(x.query, x.key, x.value)
    finally:
        module.descriptor = original


def test_which_plans_have_descriptors() -> None:
    def plan(text: str, shape: tuple[int, ...] = (4, 2, 16), **changed: Any) -> Any:
        spec = parse_and_check(Source("small.gsa", f"attention small {{ causal {text} }}"))
        return lower(spec, HeadShape(*shape), config=KernelConfig(**changed))

    tokens = "indexer { heads 2  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] } select top 9 tokens"
    assert describes(plan(WINDOW))
    assert describes(plan(BLOCKS, block_keys=16, backward_keys=16))
    # A step over several blocks, or over tokens, does not lie in one piece.
    assert not in_pieces(plan(BLOCKS, block_keys=32, backward_keys=16))
    assert not in_pieces(plan(tokens))
    assert in_pieces(plan(WINDOW, (4, 2, 20)))
    assert not describes(plan(WINDOW, (4, 2, 20)))


def test_a_table_leaves_no_room_for_a_third_stage() -> None:
    shape = HeadShape(64, 4, 128)
    assert default_config(shape, None).backward.stages == 3
    assert default_config(shape, None, bias=True).backward.stages == 2
