"""The 28 ways in which sparse attention kernels were found to be wrong elsewhere, one named entry each.

A mode is a test here, or the test of another file that proves it, or the reason why there is nothing to prove yet.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gsa_dsl
from gsa_dsl.testing.tiles import small_tiles
from gsa_dsl.testing.tolerance import deviation
from gsa_dsl.testing.verify import verify
from tests.properties import test_laws as laws
from tests.properties import test_meaning as meaning
from tests.properties import test_verify_catches_mistakes as mistakes
from tests.properties.conftest import SMALL_TILES

ROOT = Path(__file__).resolve().parents[2]
Compile = Callable[..., gsa_dsl.CompiledAttention]

PROVED_BY = {
    13: ("tests/runtime/test_calls.py", "test_odd_head_shapes"),
    14: ("tests/properties/test_spans.py", "test_packed_equals_the_documents_one_by_one"),
    16: ("tests/properties/test_examples_verify.py", "test_examples_on_torch"),  # no report may carry a note
    17: ("tests/nn/test_attention.py", "test_autocast"),
    19: ("tests/tuning/test_compiled.py", "test_two_hundred_lengths_make_one_module_a_bucket_and_no_search"),
    20: ("tests/tuning/test_store.py", "test_every_field_of_a_key_counts"),
    21: ("tests/tuning/test_tuner.py", "test_accidents_are_reported_and_never_chosen"),
    22: ("tests/runtime/test_targets.py", "test_every_kernel_compiles_and_fits"),
    23: ("tests/gpu/test_verify_on_gpu.py", "test_examples_agree_with_the_reference"),
    26: ("tests/nn/test_gates.py", "test_gates_that_start_as_the_identity_change_nothing"),
}
NOT_YET = {
    11: "decode equals the full forward: a call takes as many queries as keys, so nothing decodes with a cache yet; "
    "that a shorter sequence has the rows of a longer one is mode 8",
}


def test_every_mode_has_its_entry() -> None:
    here = {int(match[1]) for name in globals() if (match := re.match(r"test_mode_(\d\d)_", name))}
    assert sorted([*here, *PROVED_BY, *NOT_YET]) == list(range(1, 29))


@pytest.mark.parametrize("mode", PROVED_BY)
def test_the_test_that_proves_a_mode_is_there(mode: int) -> None:
    file, name = PROVED_BY[mode]
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("mode", NOT_YET)
def test_what_is_not_there_yet_is_still_not_there(mode: int) -> None:
    """When one of these comes into being, its mode wants a test."""
    taken = gsa_dsl.CompiledAttention.__call__.__annotations__
    assert not {"cache", "mask", "attn_mask", "attention_mask"} & taken.keys()
    assert not any("decode" in name for name in vars(gsa_dsl.CompiledAttention))


def test_mode_01_many_queries_want_one_key(compiled: Compile) -> None:
    for name in ("adaptive", "dense"):
        report = verify(compiled(name), shapes=[(1, 30)], patterns=("hot_key",))
        assert report.ok, str(report)


def test_mode_02_rows_without_keys_and_keys_out_of_range(compiled: Compile) -> None:
    meaning.test_a_row_without_keys_is_zero_and_sends_no_gradient(compiled, torch.nan)  # the first nine rows
    attention = compiled("fixed")
    x = meaning.inputs_of(attention, 20).requires_grad_()
    nothing = torch.zeros(1, 20, 20, dtype=torch.bool)
    nothing[:, :, 19] = True  # only the last query sees it
    output, aux = meaning.call(attention, x, selection=nothing)
    torch.autograd.backward(output.square().sum() + aux.indexer_loss)
    assert output[:, :, :19].abs().max() == 0
    assert x.gradients()["query"][:, :, :19].abs().max() == 0
    assert all(gradient.isfinite().all() for gradient in x.gradients().values())


def test_mode_03_cotangents_are_random() -> None:
    """A gradient that cancels in the sum of all outputs is seen."""

    def cancelling(result: mistakes.ReferenceResult, inputs: dict[str, Tensor]) -> mistakes.ReferenceResult:
        leak = mistakes.leak(torch.zeros(()), inputs["value"], 1e-3)
        signs = torch.ones(result.output.shape[-1]).index_fill(0, torch.tensor([0, 2, 4, 6]), -1.0)
        return replace(result, output=result.output + leak * signs)

    assert "d value" in mistakes.blame(mistakes.run(mistakes.Fake(cancelling)))


def test_mode_04_not_a_number_agrees_with_nothing() -> None:
    one, wrong = torch.ones(3), torch.tensor([1.0, torch.nan, 1.0])
    assert deviation(one, one.double(), one, torch.float32).ok
    for actual, exact in ((one, wrong), (wrong, one), (wrong, wrong)):
        assert not deviation(actual, exact.double(), one, torch.float32).ok
        assert not deviation(actual, exact.double(), wrong, torch.float32).ok


def test_mode_05_widths_and_heads_of_their_own(backend: str, tmp_path: Path) -> None:
    text = "attention uneven { causal  gate output = sigmoid(linear(x)) per element }"
    sizes = {"heads": 6, "kv_heads": 2, "head_dim": 24, "value_dim": 40}
    attention = gsa_dsl.compile(text, **sizes, backend=backend, config=small_tiles(6, 2), cache_dir=tmp_path)
    report = verify(attention, shapes=[(2, 19)], patterns=("normal",))
    assert report.ok, str(report)


@pytest.mark.parametrize("length", [1, 64])  # 64: half a block of 128
def test_mode_06_a_large_negative_lse_beside_padding(compiled: Compile, length: int) -> None:
    attention = compiled("dense")
    x = meaning.inputs_of(attention, length)
    x = x.replaced({"query": x.query.abs() + 20, "key": -x.key.abs() - 20})
    output, aux = meaning.call(attention, x)
    exact = attention.reference(x.query, x.key, x.value)
    assert aux.lse.max() < -1000
    torch.testing.assert_close(aux.lse.double(), exact.lse, rtol=1e-6, atol=0)
    torch.testing.assert_close(output.double(), exact.output, rtol=2e-3, atol=2e-3)  # logits of 2000 in float32


@pytest.mark.parametrize("length", [1, 5, 17])
def test_mode_07_what_lies_beyond_the_end_never_counts(compiled: Compile, length: int) -> None:
    """Shorter than a block, shorter than k, not divisible; and all operands are views into a sea of NaN."""
    attention = compiled("fixed", k=40)
    x = meaning.inputs_of(attention, length)

    def at_sea(name: str, tensor: Tensor) -> Tensor:
        axis = meaning.position_axis(name, tensor)
        if axis is None:
            return tensor
        shape = [size + (24 if place == axis else 0) for place, size in enumerate(tensor.shape)]
        return torch.full(shape, torch.nan).narrow(axis, 0, length).copy_(tensor)

    y = x.replaced({name: at_sea(name, tensor) for name, tensor in x.tensors().items()})
    (output, aux), (other, other_aux) = meaning.call(attention, x), meaning.call(attention, y)
    torch.testing.assert_close(output, other, rtol=1e-6, atol=1e-6)
    assert aux.budget is not None
    assert other_aux.selection is not None
    assert aux.budget[0].tolist() == list(range(1, length + 1))
    assert other_aux.selection.mask()[0].equal(torch.ones(length, length, dtype=torch.bool).tril())


@pytest.mark.parametrize("length", [6, 26])  # 6: no more keys than any budget
def test_mode_08_the_future_does_not_change_the_past(compiled: Compile, length: int) -> None:
    meaning.test_the_future_does_not_change_the_past(compiled, "adaptive", length)


@pytest.mark.parametrize("length", [3, 11, 17])  # fewer keys than any budget, as many as the largest, more
def test_mode_08_a_shorter_sequence_has_the_rows_of_a_longer_one(compiled: Compile, length: int) -> None:
    attention = compiled("adaptive")
    x = meaning.inputs_of(attention, 26)
    parts = {}
    for name, tensor in x.tensors().items():
        axis = meaning.position_axis(name, tensor)
        parts[name] = tensor if axis is None else tensor.narrow(axis, 0, length)
    (output, aux), (whole, other) = meaning.call(attention, x.replaced(parts)), meaning.call(attention, x)
    torch.testing.assert_close(output, whole[:, :, :length], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(aux.lse, other.lse[:, :, :length], rtol=1e-5, atol=1e-5)
    assert torch.equal(aux.budget, other.budget[:, :length])
    assert torch.equal(aux.selection.mask(), other.selection.mask()[:, :length, :length])


def test_mode_09_one_sequence_does_not_change_the_budgets_of_another(compiled: Compile) -> None:
    meaning.test_one_sequence_does_not_change_another(compiled, "adaptive")


def test_mode_10_ties_go_to_the_smaller_position_every_time(compiled: Compile) -> None:
    meaning.test_equal_scores_go_to_the_smaller_positions(compiled)
    meaning.test_two_runs_agree_bit_for_bit(compiled, "relu")


def test_mode_12_offsets_beyond_2_to_the_31(tmp_path: Path) -> None:
    """The third sequence lies 2^31 elements behind the first, in memory that nobody else touches.

    An offset that wraps around lands as far before it, where there are zeros, and not outside of what may be read.
    """
    attention = gsa_dsl.compile(
        "attention far { causal }", heads=1, head_dim=16, backend="interpret", config=SMALL_TILES, cache_dir=tmp_path
    )
    x = meaning.inputs_of(attention, 9, batch=3, dtype=torch.float16)
    try:
        sea = torch.empty(2**32 + 4096, dtype=torch.float16)
    except RuntimeError:
        pytest.skip("no 8 GiB of addresses to be had")
    strides = (2**30, 9 * 16, 16, 1)
    key, value = (
        sea.as_strided(part.shape, strides, 2**31 + at).copy_(part) for at, part in ((0, x.key), (1024, x.value))
    )
    torch.testing.assert_close(attention(x.query, key, value), attention(x.query, x.key, x.value), rtol=0, atol=0)


def test_mode_15_recomputed_forwards_keep_their_own_choices(compiled: Compile) -> None:
    laws.test_two_checkpointed_forwards_before_their_backwards(compiled)


def test_mode_18_strides_do_not_matter(compiled: Compile) -> None:
    meaning.test_strides_do_not_matter(compiled, "adaptive")


@pytest.mark.parametrize("name", ["adaptive", "window"])
def test_mode_18_a_call_writes_to_none_of_its_operands(compiled: Compile, name: str) -> None:
    """``opcheck`` takes operators, and a call is none: what it looks for is looked for here and in the next two."""
    attention = compiled(name)
    x = meaning.inputs_of(attention, 20).requires_grad_()
    before = {name: (tensor.detach().clone(), tensor._version) for name, tensor in x.tensors().items()}
    output, aux = meaning.call(attention, x)
    torch.autograd.backward(output.square().sum() + (0 if aux.indexer_loss is None else aux.indexer_loss))
    for name, tensor in x.tensors().items():
        assert torch.equal(tensor, before[name][0]), name
        assert tensor._version == before[name][1], name
        assert tensor.untyped_storage().data_ptr() != output.untyped_storage().data_ptr(), name


def test_mode_18_gradients_are_those_of_finite_differences(tmp_path: Path) -> None:
    text = "attention a { causal  always last 3  sink  gate value = tanh(linear(x)) per element }"
    attention = gsa_dsl.compile(text, heads=2, kv_heads=1, head_dim=16, backend="torch", cache_dir=tmp_path)
    x = meaning.inputs_of(attention, 5, dtype=torch.float64).requires_grad_()
    names = tuple(x.tensors())

    def output(*tensors: Tensor) -> Tensor:
        y = x.replaced(dict(zip(names, tensors, strict=True)))
        result: Tensor = attention(y.query, y.key, y.value, **y.keywords())
        return result

    assert torch.autograd.gradcheck(output, tuple(x.tensors().values()))


@pytest.mark.parametrize("name", ["adaptive", "window"])
def test_mode_18_a_compiled_model_may_call_it(compiled: Compile, backend: str, name: str) -> None:
    """Eager torch goes into one graph, whatever the length; kernels are launched between graphs."""
    attention = compiled(name)

    def model(query: Tensor, key: Tensor, value: Tensor, options: dict[str, object]) -> Tensor:
        output: Tensor = attention(2 * query, key, value, **options)
        return output.square()

    torch._dynamo.reset()
    traced = torch.compile(model, backend="aot_eager", fullgraph=backend == "torch", dynamic=True)
    for length in (12, 19):
        results = []
        for run in (model, traced):
            x = meaning.inputs_of(attention, length).requires_grad_()
            output = run(x.query, x.key, x.value, x.keywords())
            torch.autograd.backward(output.sum())
            results.append((output, *x.gradients().values()))
        for plain, other in zip(*results, strict=True):
            torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-5)


def test_mode_24_the_interpreter_refuses_what_it_gets_wrong(tmp_path: Path) -> None:
    attention = gsa_dsl.compile(
        "attention plain { causal }", heads=1, head_dim=16, backend="interpret", cache_dir=tmp_path
    )
    x = meaning.inputs_of(attention, 4, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="bfloat16"):
        attention(x.query, x.key, x.value)


def test_mode_25_every_gate_and_indexer_tensor_learns(compiled: Compile) -> None:
    attention = compiled("adaptive")
    x = meaning.inputs_of(attention, 20).requires_grad_()
    output, aux = meaning.call(attention, x)
    torch.autograd.backward(output.square().sum() + aux.indexer_loss)
    for name, gradient in x.gradients().items():
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("mask", [None, torch.ones(1, 4, dtype=torch.bool)], ids=["none", "padding"])
def test_mode_27_a_mask_is_refused_and_never_ignored(compiled: Compile, mask: Tensor | None) -> None:
    """Frameworks hand one over, or None where they believe that the attention masks by itself; none is bound yet."""
    attention: Any = compiled("dense")
    x = meaning.inputs_of(attention, 4)
    layer: Any = attention.module(16)
    inputs = torch.ones(1, 4, 16)
    for call in (lambda **more: attention(x.query, x.key, x.value, **more), lambda **more: layer(inputs, **more)):
        call()
        for name in ("mask", "attn_mask", "attention_mask"):
            with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
                call(**{name: mask})


def test_mode_28_looking_at_code_changes_nothing(compiled: Compile) -> None:
    attention = compiled("window")
    x = meaning.inputs_of(attention, 20)
    before = attention(x.query, x.key, x.value)
    assert "def attention(" in attention.source
    assert "window" in repr(attention)
    assert attention.path.read_text(encoding="utf-8") == attention.source
    assert torch.equal(attention(x.query, x.key, x.value), before)
