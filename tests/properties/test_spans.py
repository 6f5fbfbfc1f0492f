"""Which keys a query sees: packed documents are their own sequences, full attention looks both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.verify import verify

TILES = KernelConfig(
    tile=8,
    block_keys=16,
    backward_keys=16,
    score_rows=32,
    score_keys=32,
    strip=1,
    scan_keys=32,
    list_keys=32,
    sample=16,
)
INDEXER = """indexer { heads 2  dim 16  keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j]) }"""
BODIES = {
    "dense": "gate output = sigmoid(linear(x)) per element",
    "window": "always first 2, last 5",
    "recent": "always last 9",
    "sinks": "always first 3",
    "fixed": f"{INDEXER} select top 6 tokens  train indexer with kl",
    "forced": f"{INDEXER} select top 4 tokens  always first 3, last 4  train indexer with kl(temperature = 0.5)",
    "adaptive": f"""gate value = tanh(linear(x)) per head  {INDEXER}
      budget[t] = clamp(6 * ema(var(score[t])) / var(score[t]), 2, 11)
      select top budget tokens  always last 2  train indexer with kl""",
    "mass": f"{INDEXER} budget[t] = min(top_p(score[t], 0.3), 12)  select top budget tokens  train indexer with kl",
    "gated": """gate query = sigmoid(linear(x)) per head  gate key = 1 + tanh(linear(x)) per element
      gate value = sigmoid(linear(x)) per shared  always first 2, last 5""",
    "levels": f"""{INDEXER} budget[t] = min(above(score[t], 0.5) + 0.5 * ema(entropy(score[t])) + entropy(score[t]), 12)
      select top budget tokens  always first 1""",
}
KINDS = ("causal documents", "full", "full documents")
SIZES = {"heads": 4, "kv_heads": 2, "head_dim": 16}
LENGTHS = (17, 1, 1, 12, 20, 2)  # of documents that begin within tiles and at their ends
Compile = Callable[..., gsa_dsl.CompiledAttention]

kinds = pytest.mark.parametrize("kind", KINDS)
bodies = pytest.mark.parametrize("body", BODIES)
backends = pytest.mark.parametrize("backend", ["torch", pytest.param("interpret", marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    cache = tmp_path_factory.mktemp("cache")

    def make(kind: str, body: str, backend: str) -> gsa_dsl.CompiledAttention:
        text = f"attention variant {{ {kind}\n  {BODIES[body]}\n}}"
        return gsa_dsl.compile(text, **SIZES, backend=backend, config=TILES, cache_dir=cache)

    return make


@kinds
@bodies
def test_it_means_what_the_reference_says(compiled: Compile, kind: str, body: str) -> None:
    report = verify(compiled(kind, body, "torch"), shapes=[(2, 1), (2, 53)])
    assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "body"),
    [(kind, body) for kind in KINDS for body in ("dense", "window", "sinks", "gated")]
    + [("causal documents", "adaptive"), ("full", "forced"), ("full documents", "forced")],
)
def test_kernels_mean_what_the_reference_says(compiled: Compile, kind: str, body: str) -> None:
    report = verify(compiled(kind, body, "interpret"), shapes=[(1, 1), (1, 45)], patterns=("normal",))
    assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["mass", "levels"])
def test_kernels_take_statistics_of_their_own_span(compiled: Compile, body: str) -> None:
    report = verify(compiled("full documents", body, "interpret"), shapes=[(2, 40)], patterns=("normal",))
    assert report.ok, str(report)


# --- packed documents are their own sequences ------------------------------------------------------------------------


def ids(lengths: tuple[int, ...]) -> Tensor:
    """Ids of documents of these lengths, one sequence; no two neighbours alike, in no order."""
    return torch.cat([torch.full((length,), (7 * number) % 11 - 3) for number, length in enumerate(lengths)])[None]


def part(x: Inputs, rows: slice) -> Inputs:
    """One document of a sequence as a sequence."""
    axis = {"index.k": 1, "index.b": None}

    def cut(name: str, tensor: Tensor) -> Tensor:
        at = axis.get(name, 2)
        return (tensor if at is None else tensor.narrow(at, rows.start, rows.stop - rows.start)).detach().clone()

    whole = x.replaced({name: cut(name, tensor) for name, tensor in x.tensors().items()})
    return Inputs(whole.query, whole.key, whole.value, whole.gates, whole.index, x.ema)


def run(attention: gsa_dsl.CompiledAttention, x: Inputs, cotangent: Tensor, weight: float) -> tuple[Tensor, Any]:
    """A call and its backward; ``weight`` is the cotangent of the indexer's loss."""
    x.requires_grad_()
    output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    total = (output * cotangent).sum()
    torch.autograd.backward(total if aux.indexer_loss is None else total + weight * aux.indexer_loss)
    return output.detach(), aux


@backends
@pytest.mark.parametrize(
    ("kind", "body"),
    [(kind, body) for kind in ("causal", "full") for body in ("dense", "window", "sinks", "forced")]
    + [("causal", "adaptive"), ("causal", "mass"), ("full", "levels")],
)
def test_packed_equals_the_documents_one_by_one(compiled: Compile, kind: str, body: str, backend: str) -> None:
    packed, alone = compiled(f"{kind} documents", body, backend), compiled(kind, body, backend)
    length = sum(LENGTHS)
    made = make_inputs(packed.spec, batch=1, length=length, **SIZES)
    x = Inputs(made.query, made.key, made.value, made.gates, made.index, made.ema, ids(LENGTHS))
    cotangent = torch.randn(x.query.shape, generator=torch.Generator().manual_seed(5))
    output, aux = run(packed, x, cotangent, 1.0)
    found = x.gradients()

    loss, bias = torch.zeros(()), torch.zeros_like(found.get("index.b", torch.zeros(())))
    first = 0
    for count in LENGTHS:
        rows = slice(first, first + count)
        y = part(x, rows)
        # The packed loss is the mean over all positions: a document weighs as many as it has.
        expected, other = run(alone, y, cotangent[:, :, rows], count / length)
        torch.testing.assert_close(output[:, :, rows], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(aux.lse[:, :, rows], other.lse, rtol=1e-5, atol=1e-6)
        if other.budget is not None:
            assert torch.equal(aux.budget[:, rows], other.budget)
            mask = aux.selection.mask()[:, rows]
            assert torch.equal(mask[..., rows], other.selection.mask())
            assert mask.sum() == mask[..., rows].sum()
        for name, gradient in y.gradients().items():
            if name == "index.b":
                bias += gradient
                continue
            own = found[name].narrow(1 if name == "index.k" else 2, first, count)
            torch.testing.assert_close(own, gradient, rtol=1e-4, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")
        if other.indexer_loss is not None:
            loss += other.indexer_loss * count / length
        first += count
    if aux.indexer_loss is not None:
        torch.testing.assert_close(aux.indexer_loss, loss, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found["index.b"], bias, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "phase"), [("window", "sparse"), ("sinks", "sparse"), ("fixed", "sparse"), ("fixed", "warmup")]
)
@pytest.mark.parametrize("kind", ["causal documents", "full documents"])
def test_kernels_do_not_even_read_other_documents(compiled: Compile, kind: str, body: str, phase: str) -> None:
    """Documents of whole blocks: what a block holds beyond them, NaN included, is in no product."""
    attention = compiled(kind, body, "interpret")
    x = make_inputs(attention.spec, batch=1, length=64, **SIZES)
    x = Inputs(x.query, x.key, x.value, x.gates, x.index, x.ema, ids((16, 32, 16)))
    for name, tensor in x.tensors().items():
        if name in ("query", "key", "value"):
            tensor[:, :, :16] = torch.nan
            tensor[:, :, 48:] = torch.nan
    x.requires_grad_()
    output, _ = attention(x.query, x.key, x.value, **x.keywords(), phase=phase, return_aux=True)
    torch.autograd.backward(output, torch.ones_like(output))
    assert output[:, :, 16:48].isfinite().all()
    for name in ("query", "key", "value"):
        assert x.gradients()[name][:, :, 16:48].isfinite().all(), name


# --- known answers ---------------------------------------------------------------------------------------------------


def mask_of(kind: str, body: str, documents: Tensor | None, length: int) -> Tensor:
    """Who attends to whom, bool [1, 1, L, L], written down once more."""
    t, s = torch.arange(length)[:, None], torch.arange(length)
    mask = torch.ones(length, length, dtype=torch.bool) if "full" in kind else s <= t
    first = torch.zeros(length, dtype=torch.long)
    if documents is not None:
        runs = [0]
        for a, b in zip(documents[0, :-1].tolist(), documents[0, 1:].tolist(), strict=True):
            runs.append(runs[-1] + (a != b))
        number = torch.tensor(runs)
        mask = mask & (number[:, None] == number)
        first = torch.tensor([runs.index(run) for run in runs])
    if body == "window":
        mask = mask & ((s < first[:, None] + 2) | ((t - s).abs() < 5))
    return mask[None, None]


@backends
@kinds
@pytest.mark.parametrize("body", ["dense", "window"])
def test_known_answers_of_sdpa(compiled: Compile, kind: str, body: str, backend: str) -> None:
    attention = compiled(kind, body, backend)
    length = 53
    x = make_inputs(attention.spec, batch=1, length=length, **SIZES)
    gates = None if x.gates is None else {"output": torch.full_like(x.gates["output"], 40.0)}  # sigmoid of it is 1
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (x.query, x.key, x.value)]
    output = attention(*leaves, gates=gates, documents=x.documents)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(6))
    found = torch.autograd.grad(output, leaves, cotangent)
    mask = mask_of(kind, body, x.documents, length)
    expected = scaled_dot_product_attention(*leaves, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    for own, other in zip(found, torch.autograd.grad(expected, leaves, cotangent), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_a_given_selection_does_not_reach_what_a_query_cannot_see(compiled: Compile) -> None:
    everything = torch.ones(1, 53, 53, dtype=torch.bool)
    for kind in KINDS:
        attention = compiled(kind, "fixed", "torch")
        x = make_inputs(attention.spec, batch=1, length=53, **SIZES)
        _, aux = attention(x.query, x.key, x.value, **x.keywords(), selection=everything, return_aux=True)
        assert torch.equal(aux.selection.mask(), mask_of(kind, "fixed", x.documents, 53)[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_inference_in_chunks_gives_the_same(compiled: Compile, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compiled(kind, "forced", "interpret")
    x = make_inputs(attention.spec, batch=2, length=45, **SIZES)
    expected, _ = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    monkeypatch.setattr(attention.kernels, "WORKSPACE", 1)
    assert attention.kernels.chunk_rows(2, 45) < 45
    torch.testing.assert_close(attention(x.query, x.key, x.value, **x.keywords()), expected, rtol=1e-6, atol=1e-6)
