"""Laws of attention: what a change of the inputs must do to the results, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import gsa_dsl
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.tiles import small_tiles
from tests.properties.test_meaning import call, inputs_of

Compile = Callable[..., gsa_dsl.CompiledAttention]
LENGTH = 21
EVERY = ("dense", "window", "fixed", "relu", "adaptive")


def permuted(x: Inputs, groups: Tensor, members: Tensor) -> Inputs:
    """``x`` with its kv heads in the order ``groups`` and the query heads of each in the order ``members``."""
    size = len(members)
    heads = (groups[:, None] * size + members).flatten()
    query_heads = x.query.shape[1]

    def order(name: str, tensor: Tensor) -> Tensor:
        if name.startswith("index.") or tensor.dim() < 3:
            return tensor
        return tensor[:, heads if tensor.shape[1] == query_heads else groups]

    return x.replaced({name: order(name, tensor).detach().clone() for name, tensor in x.tensors().items()})


@pytest.mark.parametrize("name", EVERY)
def test_heads_may_come_in_any_order(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    x = inputs_of(attention, LENGTH)
    groups, members = torch.tensor([1, 0]), torch.tensor([1, 0])
    heads = (groups[:, None] * 2 + members).flatten()
    (output, aux), (other, other_aux) = call(attention, x), call(attention, permuted(x, groups, members))
    torch.testing.assert_close(output[:, heads], other, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(aux.lse[:, heads], other_aux.lse, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(output, other, atol=1e-3)
    if aux.selection is not None:
        assert other_aux.selection is not None
        assert torch.equal(aux.selection.mask(), other_aux.selection.mask())


@pytest.mark.parametrize("name", EVERY)
def test_a_shift_of_all_keys_shifts_the_lse_alone(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    x = inputs_of(attention, LENGTH)
    shift = torch.linspace(-1, 1, x.key.shape[-1])
    (output, aux), (other, other_aux) = call(attention, x), call(attention, x.replaced({"key": x.key + shift}))
    torch.testing.assert_close(output, other, rtol=1e-5, atol=1e-5)
    moved = aux.lse + (x.query * shift).sum(-1) / x.key.shape[-1] ** 0.5
    torch.testing.assert_close(moved, other_aux.lse, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "window", "fixed"])
def test_the_output_is_linear_in_the_values(compiled: Compile, name: str) -> None:
    """A mean, weighted: scaled with the values, and moved by a shift that they all share."""
    attention = compiled(name)
    x = inputs_of(attention, LENGTH)
    output, _ = call(attention, x)
    other, _ = call(attention, x.replaced({"value": 4 * x.value + 2}))
    torch.testing.assert_close(4 * output + 2, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "window", "fixed"])
def test_queries_scaled_up_are_keys_scaled_up(compiled: Compile, name: str) -> None:
    attention = compiled(name)
    x = inputs_of(attention, LENGTH)
    one, other = (call(attention, x.replaced({which: 2 * x.tensors()[which]})) for which in ("query", "key"))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1].lse, other[1].lse)


def test_a_choice_depends_on_the_order_of_scores_alone(compiled: Compile) -> None:
    """Twice the score, by a power of two exactly, is the same choice and the same output, bit for bit."""
    attention = compiled("relu")
    x = inputs_of(attention, LENGTH)
    assert x.index is not None
    (output, aux), (other, other_aux) = call(attention, x), call(attention, x.replaced({"index.w": 2 * x.index["w"]}))
    assert aux.selection is not None
    assert other_aux.selection is not None
    assert torch.equal(aux.selection.mask(), other_aux.selection.mask())
    assert torch.equal(output, other)


VARIANCE = """attention variance { causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) }
  budget[t] = clamp(VAR, 1, 9)  select top budget tokens }"""


@pytest.mark.parametrize("budget", ["4 * ema(var(score[t])) / var(score[t])", "4 * var(score[t]) / ema(var(score[t]))"])
def test_a_budget_of_relative_variance_has_no_scale(backend: str, budget: str, tmp_path: Path) -> None:
    text = VARIANCE.replace("VAR", budget)
    sizes = {"heads": 2, "kv_heads": 1, "head_dim": 16}
    attention = gsa_dsl.compile(text, **sizes, backend=backend, config=small_tiles(2, 1), cache_dir=tmp_path)
    x = inputs_of(attention, LENGTH)
    assert x.index is not None
    assert x.ema is not None
    keywords = x.keywords() | {"ema": 4 * x.ema, "index": {**x.index, "w": 2 * x.index["w"]}}
    _, aux = call(attention, x)
    _, other = attention(x.query, x.key, x.value, **keywords, return_aux=True)
    assert aux.budget is not None
    assert len(aux.budget.unique()) > 3
    assert torch.equal(aux.budget, other.budget)


GATES = """gate query = 2 * sigmoid(linear(x)) per head  gate key = 2 * sigmoid(linear(x)) per shared
  gate value = 2 * sigmoid(linear(x)) per element  gate output = 2 * sigmoid(linear(x)) per head"""


def test_gates_at_the_identity_are_no_gates(backend: str, tmp_path: Path) -> None:
    sizes = {"heads": 4, "kv_heads": 2, "head_dim": 16}
    config = small_tiles(4, 2)
    gated, bare = (
        gsa_dsl.compile(
            f"attention a {{ causal {gates} }}", **sizes, backend=backend, config=config, cache_dir=tmp_path
        )
        for gates in (GATES, "")
    )
    x = inputs_of(gated, LENGTH)
    assert x.gates is not None
    zero = {name: torch.zeros_like(gate) for name, gate in x.gates.items()}
    found, expected = [], []
    for attention, gates, results in ((gated, zero, found), (bare, None, expected)):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in (x.query, x.key, x.value)]
        output = attention(*leaves, gates=gates)
        torch.autograd.backward(output, torch.cos(torch.arange(output.numel())).view_as(output))
        results += [output, *(leaf.grad for leaf in leaves)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_two_checkpointed_forwards_before_their_backwards(compiled: Compile) -> None:
    """A recomputed forward makes its own choice again, and not that of the forward that ran last."""
    attention = compiled("adaptive")
    results = []
    for recomputed in (True, False):
        parts = [inputs_of(attention, 17, seed=seed).requires_grad_() for seed in (1, 2)]
        losses = []
        for x in parts:

            def loss_of(_: Tensor, x: Inputs = x) -> Tensor:
                output, aux = call(attention, x)
                assert aux.indexer_loss is not None
                return output.square().sum() + aux.indexer_loss

            losses.append(checkpoint(loss_of, x.query, use_reentrant=False) if recomputed else loss_of(x.query))
        for loss in losses:
            torch.autograd.backward(loss)
        results.append([gradient for x in parts for gradient in x.gradients().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# --- computed by hand ------------------------------------------------------------------------------------------------


def test_equal_logits_average_the_values(compiled: Compile) -> None:
    attention = compiled("window")  # the first 2 and the last 5
    x = inputs_of(attention, 9)
    value = torch.arange(9.0)[None, None, :, None].expand_as(x.value).contiguous()
    output, aux = call(attention, x.replaced({"query": torch.zeros_like(x.query), "value": value}))
    seen = [{s for s in range(t + 1) if s < 2 or s > t - 5} for t in range(9)]
    for t, keys in enumerate(seen):
        assert output[0, :, t].flatten().tolist() == pytest.approx([sum(keys) / len(keys)] * 64, rel=1e-6)
        assert aux.lse[0, :, t].tolist() == pytest.approx([torch.tensor(float(len(keys))).log().item()] * 4, abs=1e-6)


def test_two_keys_by_hand(compiled: Compile) -> None:
    """Logits 0 and log 3: weights of a quarter and three quarters, and a gradient of p (1 - p) = 3/16."""
    attention = compiled("dense")
    query, key, value = (torch.zeros(1, heads, 2, 16) for heads in (4, 2, 2))
    query[..., 1, 0] = 4.0  # the scale is 1 / 4
    key[..., 1, 0] = torch.tensor(3.0).log()
    value[..., 1, :] = 8.0
    query.requires_grad_()
    output = attention(query, key, value)
    assert output[0, :, 1].flatten().tolist() == pytest.approx([6.0] * 64, rel=1e-6)
    output[0, :, 1, 0].sum().backward()
    wanted = 8.0 * 3 / 16 * torch.tensor(3.0).log().item() / 4
    assert query.grad is not None
    assert query.grad[0, :, 1, 0].tolist() == pytest.approx([wanted] * 4, rel=1e-5)
    assert query.grad[0, :, 0].abs().max() == 0


def test_the_best_keys_by_hand(compiled: Compile) -> None:
    """Scores that grow with the position: the last query chooses the last keys, in order."""
    attention = compiled("fixed")  # 6 keys, w and b let the score grow with q . k
    x = inputs_of(attention, 12)
    assert x.index is not None
    q, k = torch.zeros_like(x.index["q"]), torch.zeros_like(x.index["k"])
    q[..., 0], k[0, :, 0] = 1.0, torch.arange(12.0)
    _, aux = call(attention, x.replaced({"index.q": q, "index.k": k}))
    assert aux.selection is not None
    chosen = [row.nonzero().flatten().tolist() for row in aux.selection.mask()[0]]
    assert chosen == [list(range(max(0, t - 5), t + 1)) for t in range(12)]
