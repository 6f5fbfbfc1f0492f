"""What must hold of every compiled attention, whatever its numbers: causality, independence, ties, empty rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gsa_dsl
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.verify import verify

Compile = Callable[..., gsa_dsl.CompiledAttention]
CHOOSING = ("fixed", "relu", "adaptive")
LENGTH = 26
TILE = 8  # of the kernels that the fixture ``compiled`` asks for


def inputs_of(compiled: gsa_dsl.CompiledAttention, length: int = LENGTH, batch: int = 1, **options: Any) -> Inputs:
    recipe = compiled.recipe
    sizes = {name: recipe[name] for name in ("heads", "kv_heads", "head_dim")}
    return make_inputs(compiled.spec, batch=batch, length=length, **sizes, **options)


def call(compiled: gsa_dsl.CompiledAttention, x: Inputs, **options: Any) -> tuple[Tensor, gsa_dsl.Aux]:
    output, aux = compiled(x.query, x.key, x.value, **x.keywords(), return_aux=True, **options)
    return output, aux


def position_axis(name: str, x: Tensor) -> int | None:
    """Which axis of the input ``name`` counts positions; None for the indexer's bias."""
    return None if name == "index.b" else 1 if name == "index.k" else 2


def with_other_future(x: Inputs, start: int) -> Inputs:
    """``x`` with every input at positions >= ``start`` drawn anew, on another scale."""
    generator = torch.Generator().manual_seed(99)
    changed = {}
    for name, tensor in x.tensors().items():
        axis = position_axis(name, tensor)
        if axis is not None:
            tensor = tensor.clone()
            future = tensor.narrow(axis, start, tensor.shape[axis] - start)
            future.copy_(3 * torch.randn(future.shape, generator=generator))
        changed[name] = tensor
    return x.replaced(changed)


@pytest.mark.parametrize("length", [6, LENGTH])  # 6: fewer keys than any budget, where selection could be skipped
@pytest.mark.parametrize("name", ["dense", "window", *CHOOSING])
def test_the_future_does_not_change_the_past(compiled: Compile, name: str, length: int) -> None:
    attention = compiled(name)
    x = inputs_of(attention, length)
    start = length // 2
    # queries of a tile walk the union of their keys: a later one in the same tile moves an earlier one's rounding
    alone = start // TILE * TILE if attention.backend == "interpret" and name in CHOOSING else start
    (output, aux), (other, other_aux) = call(attention, x), call(attention, with_other_future(x, start))
    for past, again in ((output, other), (aux.lse, other_aux.lse)):
        assert torch.equal(past[:, :, :alone], again[:, :, :alone])
        torch.testing.assert_close(past[:, :, alone:start], again[:, :, alone:start], rtol=1e-6, atol=1e-6)
    assert not torch.equal(output[:, :, start:], other[:, :, start:])
    if name in CHOOSING:
        assert aux.budget is not None
        assert other_aux.budget is not None
        assert aux.selection is not None
        assert other_aux.selection is not None
        assert torch.equal(aux.budget[:, :start], other_aux.budget[:, :start])
        assert torch.equal(aux.selection.mask()[:, :start], other_aux.selection.mask()[:, :start])


@pytest.mark.parametrize("name", ["dense", "window", "adaptive"])
def test_the_past_sends_no_gradient_into_the_future(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    x = inputs_of(attention).requires_grad_()
    output, _ = call(attention, x)
    torch.autograd.backward(output[:, :, :15].square().sum())
    for name, gradient in x.gradients().items():
        axis = position_axis(name, gradient)
        if axis is not None:
            assert gradient.narrow(axis, 15, LENGTH - 15).abs().max() == 0, name


@pytest.mark.parametrize("name", CHOOSING)
def test_one_sequence_does_not_change_another(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    x = inputs_of(attention, 17, batch=2)
    changed = {}
    for label, tensor in x.tensors().items():
        tensor = tensor.clone()
        if label != "index.b":
            tensor[1] = -2 * tensor[1]
        changed[label] = tensor
    (output, aux), (other, other_aux) = call(attention, x), call(attention, x.replaced(changed))
    assert torch.equal(output[0], other[0])
    assert aux.budget is not None
    assert other_aux.budget is not None
    assert torch.equal(aux.budget[0], other_aux.budget[0])
    alone, alone_aux = call(
        attention, x.replaced({label: t if label == "index.b" else t[:1] for label, t in x.tensors().items()})
    )
    assert alone_aux.budget is not None
    assert torch.equal(aux.budget[:1], alone_aux.budget)
    torch.testing.assert_close(output[:1], alone)


def test_a_budget_of_every_key_is_dense_attention(compiled: Compile) -> None:
    attention = compiled("fixed", k=64)
    x = inputs_of(attention)
    output, _ = call(attention, x)
    expected = F.scaled_dot_product_attention(x.query, x.key, x.value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_equal_scores_go_to_the_smaller_positions(compiled: Compile) -> None:
    attention = compiled("fixed")
    _, aux = call(attention, inputs_of(attention, pattern="constant"))
    assert aux.selection is not None
    t, s = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)
    assert torch.equal(aux.selection.mask(), ((s <= t) & (s < 6)).unsqueeze(0))


def test_minus_zero_and_zero_are_equal_scores(compiled: Compile) -> None:
    attention = compiled("signed_zeros")
    x = inputs_of(attention)
    assert x.index is not None
    q, k = torch.ones_like(x.index["q"]), -torch.ones_like(x.index["k"])
    k[:, 1::2] = 0  # relu(-16) * -16 is -0.0, relu(0) * 0 is 0.0
    _, aux = call(attention, x.replaced({"index.q": q, "index.k": k}))
    assert aux.selection is not None
    assert [row.nonzero().flatten().tolist() for row in aux.selection.mask()[0, -3:]] == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize("name", ["relu", "adaptive"])
def test_two_runs_agree_bit_for_bit(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    runs = []
    for _ in range(2):
        x = inputs_of(attention, pattern="ties").requires_grad_()
        output, aux = call(attention, x)
        assert aux.indexer_loss is not None
        torch.autograd.backward(output.square().sum() + aux.indexer_loss)
        assert aux.selection is not None
        runs.append((output, aux.lse, aux.indexer_loss, aux.selection.mask(), *x.gradients().values()))
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_score_that_is_not_a_number_is_never_chosen(compiled: Compile, name: str, poison: float) -> None:
    attention = compiled(name)
    x = inputs_of(attention)
    assert x.index is not None
    k, w = x.index["k"].clone(), x.index["w"].clone()
    k[:, 7] = torch.nan
    w[:, :, 20] = poison if name == "relu" else torch.nan  # a sigmoid makes an ordinary score of infinity
    output, aux = call(attention, x.replaced({"index.k": k, "index.w": w}))
    assert aux.selection is not None
    assert aux.budget is not None
    beyond_the_window = 7 + 3
    assert not aux.selection.mask()[:, beyond_the_window:, 7].any()
    assert aux.budget[:, 20].tolist() == [0]
    assert output.isfinite().all()


@pytest.mark.parametrize("poison", [-1.0, torch.nan])
def test_a_row_without_keys_is_zero_and_sends_no_gradient(compiled: Compile, poison: float) -> None:
    attention = compiled("maybe_empty")
    x = inputs_of(attention, 20)
    assert x.index is not None
    q, k = torch.ones_like(x.index["q"]), torch.full_like(x.index["k"], 0.25)  # scores of 4
    k[:, :9] *= poison
    x = x.replaced({"index.q": q, "index.k": k}).requires_grad_()
    output, aux = call(attention, x)
    assert aux.budget is not None
    assert aux.indexer_loss is not None
    assert aux.budget[:, :9].abs().max() == 0
    assert aux.budget[:, 9:].min() > 0
    assert output[:, :, :9].abs().max() == 0
    assert (aux.lse[:, :, :9] == -torch.inf).all()
    torch.autograd.backward(output.square().sum() + aux.indexer_loss)
    gradients = x.gradients()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert gradients["query"][:, :, :9].abs().max() == 0


def test_zero_over_zero_takes_the_largest_budget(compiled: Compile) -> None:
    attention = compiled("adaptive")
    x = inputs_of(attention, 20)
    assert x.index is not None
    same = {"index.k": torch.zeros_like(x.index["k"]), "index.w": torch.zeros_like(x.index["w"])}
    same["index.b"] = torch.zeros_like(x.index["b"])  # all scores are 2 * 0.5 * 0.5, exactly
    x = x.replaced(same)
    _, aux = compiled("adaptive")(
        x.query, x.key, x.value, gates=x.gates, index=x.index, ema=torch.zeros(1), return_aux=True
    )
    assert aux.budget is not None
    assert aux.budget[0].tolist() == [min(max(t + 1 - 3, 0), 11) for t in range(20)]


@pytest.mark.parametrize("name", ["window", "adaptive"])
def test_strides_do_not_matter(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    x = inputs_of(attention)
    results = []
    for tensors in (x, x.strided()):
        output, aux = call(attention, tensors.requires_grad_())
        loss = output.square().sum()
        torch.autograd.backward(loss if aux.indexer_loss is None else loss + aux.indexer_loss)
        results.append((output, aux.lse, *tensors.gradients().values()))
    for plain, strided in zip(*results, strict=True):
        torch.testing.assert_close(plain, strided, rtol=1e-5, atol=1e-5)


def test_two_forwards_before_their_backwards_keep_their_own_choices(compiled: Compile) -> None:
    attention = compiled("adaptive")
    results = []
    for interleaved in (True, False):
        first, second = (inputs_of(attention, 17, seed=seed).requires_grad_() for seed in (1, 2))
        losses = []
        for x in (first, second):
            output, aux = call(attention, x)
            assert aux.indexer_loss is not None
            losses.append(output.square().sum() + aux.indexer_loss)
            if not interleaved:
                torch.autograd.backward(losses.pop())
        for loss in losses:
            torch.autograd.backward(loss)
        results.append([*first.gradients().values(), *second.gradients().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_selection_can_be_used_again(compiled: Compile) -> None:
    attention = compiled("adaptive")
    x = inputs_of(attention)
    output, aux = call(attention, x)
    assert aux.selection is not None
    assert aux.budget is not None
    mask = aux.selection.mask()
    forced = torch.arange(1, LENGTH + 1).clamp(max=3)
    assert torch.equal(mask.sum(-1), aux.budget + forced)
    for choice in (aux.selection, mask):
        again, _ = call(attention, x, selection=choice)
        torch.testing.assert_close(again, output)


@pytest.mark.parametrize("name", ["window", "recent", "sinks"])
def test_windows_with_and_without_sinks(compiled: Compile, name: str) -> None:
    report = verify(compiled(name), shapes=[(1, 41)], patterns=("normal",))
    assert report.ok, str(report)


def test_a_key_that_everyone_wants_gets_its_whole_gradient(compiled: Compile) -> None:
    report = verify(compiled("adaptive"), shapes=[(1, 30)], patterns=("hot_key",))
    assert report.ok, str(report)
