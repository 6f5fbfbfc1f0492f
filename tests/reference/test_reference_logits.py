"""Logits with known answers: FlexAttention on the same score modifications, and the authors' own formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.reference.logits import places, slopes
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.specs import load_spec

BATCH, LENGTH, HEADS, KV_HEADS, DIM = 2, 37, 6, 2, 16
Modification = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def eager_flex_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling FlexAttention's eager path costs seconds and changes nothing."""
    module = "torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"
    monkeypatch.setattr(module, True, raising=False)


def flex(inputs: Inputs, modify: Modification) -> Tensor:
    """FlexAttention's output, causal, on the CPU without compilation; there it has no backward."""
    mask = create_block_mask(lambda b, h, t, s: t >= s, None, None, LENGTH, LENGTH, device="cpu")
    q, k, v = (x.detach() for x in (inputs.query, inputs.key, inputs.value))
    output: Any = flex_attention(q, k, v, modify, block_mask=mask, scale=DIM**-0.5, enable_gqa=True)
    return output  # type: ignore[no-any-return]


def dense(inputs: Inputs, modify: Modification) -> Tensor:
    """The same in plain torch, with a gradient."""
    key, value = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (inputs.key, inputs.value))
    places = (torch.arange(n).view(shape) for n, shape in ((BATCH, (-1, 1, 1, 1)), (HEADS, (-1, 1, 1))))
    t = torch.arange(LENGTH)
    logits = modify(inputs.query @ key.mT * DIM**-0.5, *places, t.unsqueeze(1), t)
    return logits.masked_fill(t.unsqueeze(1) < t, -math.inf).softmax(-1) @ value


def inputs_of(text: str) -> tuple[Inputs, Callable[[Inputs], ReferenceResult]]:
    spec = load_spec(text)
    made = make_inputs(
        spec, batch=BATCH, length=LENGTH, heads=HEADS, kv_heads=KV_HEADS, head_dim=DIM, dtype=torch.float64
    )
    return made.requires_grad_(), lambda x: reference(spec, x.query, x.key, x.value, **x.keywords())


def attention(*clauses: str) -> str:
    return "\n".join(["attention small {", "causal", *clauses, "}"])


@pytest.mark.parametrize(
    ("logit", "modify"),
    [
        pytest.param(
            "30 * tanh(q[t] . k[s] / sqrt(head_dim) / 30)",
            lambda score, b, h, t, s: 30 * torch.tanh(score / 30),
            id="softcap",
        ),
        pytest.param(
            "q[t] . k[s] / sqrt(head_dim) - slope[h] * distance",
            lambda score, b, h, t, s: score - torch.tensor(slopes(HEADS), dtype=score.dtype)[h] * (t - s),
            id="alibi",
        ),
        pytest.param(
            "2 * tanh(k[s] . q[t] / sqrt(head_dim) - slope[h] * min(distance, 5)) / (1 + 0.1 * distance)",
            lambda score, b, h, t, s: (
                2
                * torch.tanh(score - torch.tensor(slopes(HEADS), dtype=score.dtype)[h] * (t - s).clamp(max=5))
                / (1 + 0.1 * (t - s).clamp(min=0).to(score.dtype))
            ),
            id="mixed",
        ),
        pytest.param(
            "q[t] . k[s] * head_dim ^ -0.5 * heads / kv_heads",
            lambda score, b, h, t, s: score * HEADS / KV_HEADS,
            id="head counts",
        ),
    ],
)
def test_logits_are_what_flex_attention_makes_of_them(logit: str, modify: Modification) -> None:
    inputs, run = inputs_of(attention(f"logit[t, s] = {logit}"))
    cotangent = torch.randn(inputs.query.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    output = run(inputs).output
    torch.testing.assert_close(output, flex(inputs, modify), atol=1e-12, rtol=1e-10)
    learners = list(inputs.tensors().values())
    own = torch.autograd.grad((output * cotangent).sum(), learners)
    other = torch.autograd.grad((dense(inputs, modify) * cotangent).sum(), learners)
    torch.testing.assert_close(own, other, atol=1e-12, rtol=1e-9)


def test_a_learned_table_is_added_by_distance() -> None:
    inputs, run = inputs_of(attention("logit[t, s] = q[t] . k[s] / sqrt(head_dim) + bias[h, min(distance, 7)]"))
    assert inputs.extras is not None
    table = inputs.extras["bias"]
    assert table.shape == (HEADS, 8)
    cotangent = torch.randn(inputs.query.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    output = run(inputs).output

    def add(table: Tensor) -> Modification:
        return lambda score, b, h, t, s: score + table[h, (t - s).clamp(0, 7)]

    torch.testing.assert_close(output, flex(inputs, add(table.detach())), atol=1e-12, rtol=1e-10)
    own = torch.autograd.grad((output * cotangent).sum(), table)
    other = torch.autograd.grad((dense(inputs, add(table)) * cotangent).sum(), table)
    torch.testing.assert_close(own, other, atol=1e-12, rtol=1e-9)


def test_a_sink_is_one_more_key_of_value_zero() -> None:
    inputs, run = inputs_of(attention("sink", "scale 0.5"))
    assert inputs.extras is not None
    sink = inputs.extras["sink"]
    key, value = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (inputs.key, inputs.value))
    hidden = ~torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    logits = (0.5 * inputs.query @ key.mT).masked_fill(hidden, -math.inf)
    every = torch.cat([logits, sink.view(1, -1, 1, 1).expand(BATCH, -1, LENGTH, 1)], -1)
    expected = every.softmax(-1)[..., :-1] @ value
    result = run(inputs)
    torch.testing.assert_close(result.output, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(result.lse, every.logsumexp(-1), atol=1e-12, rtol=1e-10)
    cotangent = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own = torch.autograd.grad((result.output * cotangent).sum(), sink)
    other = torch.autograd.grad((expected * cotangent).sum(), sink)
    torch.testing.assert_close(own, other, atol=1e-12, rtol=1e-10)


def test_a_sink_of_minus_infinity_is_none() -> None:
    inputs, run = inputs_of(attention("sink"))
    assert inputs.extras is not None
    without = reference(load_spec(attention()), inputs.query, inputs.key, inputs.value)
    result = run(inputs.replaced({"extras.sink": torch.full_like(inputs.extras["sink"], -math.inf)}))
    torch.testing.assert_close(result.output, without.output)
    torch.testing.assert_close(result.lse, without.lse)


@pytest.mark.parametrize(
    ("heads", "wanted"),
    [
        (1, [2**-8]),
        (8, [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]),
        (3, [2**-4, 2**-8, 2**-2]),
        (12, [*(2.0 ** -(h + 1) for h in range(8)), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
    ],
)
def test_slopes_are_the_ones_of_the_paper(heads: int, wanted: list[float]) -> None:
    assert slopes(heads) == pytest.approx(wanted, rel=1e-15)


def test_relative_bias_has_the_buckets_of_t5() -> None:
    """Hugging Face's formula for causal attention, 32 buckets up to distance 128."""
    spec = load_spec("examples/relative_bias.gsa")
    assert spec.logit is not None
    assert spec.logit.bias is not None
    distance = torch.arange(300)
    far = 16 + (torch.log(distance.double() / 16) / math.log(128 / 16) * 16 + 2.0**-20).clamp(min=0).long()
    expected = torch.where(distance < 16, distance, far.clamp(max=31))
    assert torch.equal(places(spec.logit.bias, distance.double()), expected)


def test_a_score_in_the_logits_weighs_and_learns() -> None:
    """softmax(q . k + log I) is the softmax of q . k weighed by I."""
    text = attention(
        "indexer { heads 2 dim 16 keys shared score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s]) }",
        "select top 9 tokens",
        "logit[t, s] = q[t] . k[s] / sqrt(head_dim) + log(score[t, s])",
    )
    inputs, run = inputs_of(text)
    result = run(inputs)
    assert inputs.index is not None
    q, k, w = (inputs.index[name] for name in ("q", "k", "w"))
    score = (torch.sigmoid(w).unsqueeze(-1) * torch.sigmoid(q @ k.unsqueeze(1).mT)).sum(1)
    key, value = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (inputs.key, inputs.value))
    weights = (inputs.query @ key.mT * DIM**-0.5).exp() * (score * result.selected).unsqueeze(1)
    expected = weights / weights.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(result.output, expected, atol=1e-12, rtol=1e-10)
    cotangent = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    learners = [q, k, w, inputs.query, inputs.key, inputs.value]
    own = torch.autograd.grad((result.output * cotangent).sum(), learners)
    other = torch.autograd.grad((expected * cotangent).sum(), learners)
    torch.testing.assert_close(own, other, atol=1e-12, rtol=1e-9)
    assert all(gradient.abs().sum() > 0 for gradient in own)


def test_a_key_without_a_finite_score_is_not_seen_by_such_logits() -> None:
    text = attention(
        "indexer { heads 1 dim 16 keys shared score[t, s] = sum(j) sigmoid(q[t, j] . k[s]) }",
        "select top 4 tokens",
        "always last 3",
        "logit[t, s] = q[t] . k[s] + log(score[t, s])",
    )
    inputs, run = inputs_of(text)
    assert inputs.index is not None
    with torch.no_grad():
        inputs.index["k"][:, 5] = torch.nan
        inputs.index["q"][:, :, 9] = torch.nan
    result = run(inputs)
    assert (result.output[:, :, 9] == 0).all()
    assert (result.lse[:, :, 9] == -math.inf).all()
    result.output.square().sum().backward()
    for name, gradient in inputs.gradients().items():
        assert gradient.isfinite().all(), name
    assert (inputs.gradients()["value"][:, :, 5] == 0).all()


def test_the_loss_beside_a_sink_is_weighed_by_what_the_sink_leaves() -> None:
    text = attention(
        "sink",
        "indexer { heads 1 dim 16 keys shared score[t, s] = sum(j) q[t, j] . k[s] }",
        "select top 9 tokens",
        "train indexer with kl",
    )
    inputs, run = inputs_of(text)
    result = run(inputs)
    plain = load_spec(text.replace("sink\n", ""))
    assert inputs.index is not None
    assert inputs.extras is not None
    free = reference(plain, inputs.query, inputs.key, inputs.value, index=inputs.index)
    key = inputs.key.repeat_interleave(HEADS // KV_HEADS, 1)
    chosen = free.selected
    logits = (inputs.query @ key.mT * DIM**-0.5).masked_fill(~chosen.unsqueeze(1), -math.inf)
    p = (logits - torch.logaddexp(free.lse, inputs.extras["sink"].unsqueeze(-1)).unsqueeze(-1)).exp().mean(1)
    mass = p.sum(-1)
    scores = (inputs.index["q"] @ inputs.index["k"].unsqueeze(1).mT).squeeze(1)
    log_i = scores.masked_fill(~chosen, -math.inf).log_softmax(-1)
    share = p / mass.unsqueeze(-1)
    divergence = torch.where(chosen, share * (share.log() - log_i), 0.0).sum(-1)
    assert (mass < 1).all()
    torch.testing.assert_close(result.indexer_loss, (mass * divergence).mean())
    with pytest.raises(ValueError, match="extras must have the shapes"):
        reference(load_spec(text), inputs.query, inputs.key, inputs.value, index=inputs.index)
