"""Free logits and sinks compiled: against the reference on both CPU backends, and what a call may and may not do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl.codegen.emit import emit_triton
from gsa_dsl.compiler import plan_of
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.reference.dense import reference
from gsa_dsl.runtime.validate import OperandError
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.specs import load_spec
from gsa_dsl.testing.verify import verify
from tests.codegen.generated import SMALL_TILES

HEADS, KV_HEADS, DIM = 6, 2, 24

INDEXER = "indexer { heads 3  dim 16  keys shared  score[t, s] = "
GATED = "sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j]) }"
# More heads than are unrolled, and a score that is not the accumulator itself.
MANY = "indexer { heads 9  dim 16  keys shared  score[t, s] = 1 + 0.1 * relu(max(j) w[t, j] * silu(q[t, j] . k[s])) }"
PRODUCT = "q[t] . k[s] / sqrt(head_dim)"

SPECS = {
    "softcap": ("causal", f"logit[t, s] = 5 * tanh({PRODUCT} / 5)", "gate output = sigmoid(linear(x)) per head"),
    "alibi": ("causal", "sink", f"logit[t, s] = {PRODUCT} - slope[h] * distance"),
    "alibi alone": ("causal", "logit[t, s] = -(slope[h] * distance)"),
    "bias": ("causal", f"logit[t, s] = {PRODUCT} + bias[h, min(distance, 11)]"),
    "window": (
        "causal",
        "sink",
        "always first 3, last 8",
        f"logit[t, s] = 4 * tanh({PRODUCT} + slope[h] * bias[h, clamp(4 * log(distance + 1) / log(2), 0, 15)])",
    ),
    "soft": ("causal", INDEXER + GATED, "select top 6 tokens", f"logit[t, s] = {PRODUCT} + log(score[t, s])"),
    "all at once": (
        "causal",
        "sink",
        MANY,
        "select top 6 tokens",
        "always first 2, last 3",
        f"logit[t, s] = 5 * tanh({PRODUCT} / 5 * score[t, s]) + bias[h, min(sqrt(distance), 3)] * log(score[t, s])",
        "train indexer with kl(temperature = 0.5)",
        "gate output = sigmoid(linear(x)) per element",
    ),
    "looking ahead": (
        "full",
        f"logit[t, s] = {PRODUCT} - slope[h] * abs(distance) + bias[h, clamp(distance, -5, 6) + 5]",
    ),
    "packed": (
        "causal  documents",
        "sink",
        "gate key = 1 + tanh(linear(x)) per head",
        INDEXER + GATED,
        "select top 6 tokens",
        "always first 1, last 2",
        f"logit[t, s] = {PRODUCT} + log(score[t, s]) + bias[h, min(distance, 9)]",
        "train indexer with kl",
    ),
    "packed, looking ahead": (
        "full  documents",
        INDEXER + GATED,
        "select top 6 tokens",
        f"logit[t, s] = 6 * tanh({PRODUCT} / 6) * score[t, s] - 0.1 * distance",
    ),
    "sink and loss": ("causal", "sink", INDEXER + GATED, "select top 6 tokens", "train indexer with kl"),
}


def text(name: str) -> str:
    return "\n".join(["attention small {", *SPECS[name], "}"])


def compiled(name: str, backend: str, cache: Path) -> gsa_dsl.CompiledAttention:
    config = SMALL_TILES if backend == "interpret" else None
    return gsa_dsl.compile(
        text(name), heads=HEADS, kv_heads=KV_HEADS, head_dim=DIM, backend=backend, config=config, cache_dir=cache
    )


def inputs_of(name: str, length: int = 21, dtype: torch.dtype = torch.float32, **options: Any) -> Inputs:
    spec = load_spec(text(name))
    return make_inputs(
        spec, batch=2, length=length, heads=HEADS, kv_heads=KV_HEADS, head_dim=DIM, dtype=dtype, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "value_dim"), [("torch", 40), ("interpret", 40), ("interpret", 8)])
def test_values_of_another_width(backend: str, value_dim: int, tmp_path: Path) -> None:
    config = SMALL_TILES if backend == "interpret" else None
    made = gsa_dsl.compile(
        text("soft"), heads=4, kv_heads=2, head_dim=16, value_dim=value_dim, backend=backend, config=config,
        cache_dir=tmp_path,
    )  # fmt: skip
    report = verify(made, shapes=[(1, 19)], patterns=("normal",))
    assert report.ok, str(report)


@pytest.mark.parametrize("name", SPECS)
def test_on_torch(name: str, tmp_path: Path) -> None:
    report = verify(compiled(name, "torch", tmp_path), shapes=[(2, 1), (2, 53)])
    assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_in_the_interpreter(name: str, tmp_path: Path) -> None:
    made = compiled(name, "interpret", tmp_path)
    # Without an indexer long enough for a block of keys beyond the last distance of a table.
    longest = 21 if made.spec.indexer is not None else 41
    report = verify(made, shapes=[(2, 1), (1, longest)], patterns=("normal", "nan", "large"))
    assert report.ok, str(report)


def test_the_kernels_once_in_every_run(tmp_path: Path) -> None:
    """Of all features at once, at a length that crosses tiles: the rest is left to slower tests."""
    report = verify(compiled("all at once", "interpret", tmp_path), shapes=[(1, 17)], patterns=("normal",))
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("logit", "scale"),
    [
        ("q[t] . k[s] / sqrt(head_dim)", ""),
        ("k[s] . q[t]", "scale 1"),
        ("2 * (q[t] . k[s]) / head_dim", "scale 2 / head_dim"),
        ("-(q[t] . k[s])", "scale -1"),
    ],
)
def test_a_scaled_product_is_compiled_as_a_scale(logit: str, scale: str) -> None:
    made = []
    for clause in (f"logit[t, s] = {logit}", scale):
        plan = plan_of(Source("small.gsa", f"attention small {{ causal {clause} }}"), {}, (4, 2, 16))
        assert plan.logit is None
        made.append([line for line in emit_triton(plan).splitlines() if not line.lstrip().startswith("# [")])
    assert made[0] == made[1]


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_a_sink_takes_a_row_without_keys(backend: str, tmp_path: Path) -> None:
    """The sink is all there is: output 0, its own logit for lse, and no gradient for anything."""
    inputs = inputs_of("sink and loss", 9).requires_grad_()
    nothing = torch.zeros(2, 9, 9, dtype=torch.bool)
    nothing[:, 3:] = torch.ones(9, 9, dtype=torch.bool).tril()[3:]
    made = compiled("sink and loss", backend, tmp_path)
    output, aux = made(inputs.query, inputs.key, inputs.value, **inputs.keywords(), selection=nothing, return_aux=True)
    assert inputs.extras is not None
    assert (output[:, :, :3] == 0).all()
    sink = inputs.extras["sink"].detach().view(1, -1, 1).expand(2, -1, 3)
    torch.testing.assert_close(aux.lse[:, :, :3], sink)
    (output[:, :, :3] * torch.randn(2, HEADS, 3, DIM)).sum().backward()
    assert all((gradient == 0).all() for gradient in inputs.gradients().values())
    assert aux.indexer_loss.isfinite()


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_a_sink_of_minus_infinity_changes_nothing(backend: str, tmp_path: Path) -> None:
    inputs = inputs_of("alibi", 17)
    assert inputs.extras is not None
    off = inputs.replaced({"extras.sink": torch.full((HEADS,), -math.inf)}).requires_grad_()
    output = compiled("alibi", backend, tmp_path)(off.query, off.key, off.value, **off.keywords())
    plain = load_spec(text("alibi").replace("sink\n", ""))
    expected = reference(plain, inputs.query, inputs.key, inputs.value).output
    torch.testing.assert_close(output.double(), expected, atol=1e-5, rtol=1e-5)
    output.square().sum().backward()
    assert all(gradient.isfinite().all() for gradient in off.gradients().values())


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_the_learned_tensors_may_be_float32_beside_float16(backend: str, tmp_path: Path) -> None:
    made = compiled("window", backend, tmp_path)
    inputs = inputs_of("window", dtype=torch.float16)
    wide = inputs.replaced(
        {name: x.float() for name, x in inputs.tensors().items() if name.startswith("extras.")}
    ).requires_grad_()
    output = made(wide.query, wide.key, wide.value, **wide.keywords())
    assert torch.equal(output, made(inputs.query, inputs.key, inputs.value, **inputs.keywords()))
    output.float().square().sum().backward()
    assert wide.extras is not None
    assert {x.grad.dtype for x in wide.extras.values() if x.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", ["bias", "soft", "all at once"])
def test_atomic_gradients_are_refused_where_only_one_order_will_do(name: str, tmp_path: Path) -> None:
    inputs = inputs_of(name, 9).requires_grad_()
    made = compiled(name, "interpret", tmp_path)
    torch.use_deterministic_algorithms(True)
    try:
        output = made(inputs.query, inputs.key, inputs.value, **inputs.keywords())
        with pytest.raises(RuntimeError, match="added atomically"):
            output.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_frozen_indexer_costs_no_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of("soft", 9).requires_grad_()
    assert inputs.index is not None
    for x in inputs.index.values():
        x.requires_grad_(False)
    made = compiled("soft", "interpret", tmp_path)
    monkeypatch.setattr(made.kernels, "index_grads", lambda *_: pytest.fail("taken although nobody asks"))
    made(inputs.query, inputs.key, inputs.value, **inputs.keywords()).sum().backward()
    assert inputs.query.grad is not None


def test_inference_in_chunks_reads_scores_too(tmp_path: Path) -> None:
    """Without gradients lists are made and used chunk by chunk."""
    inputs = inputs_of("soft", 9)
    made = compiled("soft", "interpret", tmp_path)
    chunked = made(inputs.query, inputs.key, inputs.value, **inputs.keywords())
    whole, _ = made(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (None, "extras has no 'sink', 'bias'; the spec asks for"),
        ({"sink": torch.zeros(HEADS)}, "extras has no 'bias'"),
        ({"sink": torch.zeros(HEADS), "bias": torch.zeros(HEADS, 15)}, r"extras\['bias'\] has shape \[6, 15\]"),
        ({"sink": torch.zeros(1), "bias": torch.zeros(HEADS, 16)}, r"extras\['sink'\] has shape \[1\]"),
        ({"sink": torch.zeros(HEADS).double(), "bias": torch.zeros(HEADS, 16)}, "dtype torch.float64"),
        ({"sink": 0.0, "bias": torch.zeros(HEADS, 16)}, r"extras\['sink'\] is a float"),
    ],
)
def test_wrong_extras_are_named(extras: Any, message: str, tmp_path: Path) -> None:
    inputs = inputs_of("window", 5)
    made = compiled("window", "torch", tmp_path)
    with pytest.raises(OperandError, match=message):
        made(inputs.query, inputs.key, inputs.value, extras=extras)


def test_extras_nobody_asked_for_are_refused(tmp_path: Path) -> None:
    inputs = inputs_of("softcap", 5)
    made = compiled("softcap", "torch", tmp_path)
    with pytest.raises(OperandError, match="extras has 'sink', unused by the spec"):
        made(inputs.query, inputs.key, inputs.value, gates=inputs.gates, extras={"sink": torch.zeros(HEADS)})
