"""Attention and gates of the reference against SDPA and against numbers worked out by hand; what it refuses."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gsa_dsl.reference import scores
from gsa_dsl.reference.dense import reference
from gsa_dsl.testing.inputs import make_inputs
from gsa_dsl.testing.specs import load_spec, small_params

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DENSE = load_spec("attention dense { causal }")


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 1), (6, 2)])
def test_dense_attention_is_torchs(heads: int, kv_heads: int) -> None:
    q, k, v = randn(2, heads, 9, 8), randn(2, kv_heads, 9, 8), randn(2, kv_heads, 9, 8) + 1
    result = reference(DENSE, q, k, v)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(result.output, expected)
    assert result.budget is None
    assert result.indexer_loss is None


def test_lse_is_the_log_of_the_sum_of_exponentials_of_scaled_logits() -> None:
    q, k = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1), torch.tensor([0.5, 3.0]).view(1, 1, 2, 1)
    result = reference(DENSE, q, k, torch.ones_like(k))
    assert result.lse.flatten().tolist() == pytest.approx([0.5, math.log(math.exp(1) + math.exp(6))])


def test_the_scale_of_the_spec_replaces_one_over_root_head_dim() -> None:
    q, k, v = randn(1, 1, 5, 4), randn(1, 1, 5, 4), randn(1, 1, 5, 4)
    spec = load_spec("attention test(alpha = 3) { causal scale alpha / head_dim }")
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.75)
    torch.testing.assert_close(reference(spec, q, k, v).output, expected)


@pytest.mark.parametrize(("granularity", "shape"), [("element", (1, 1, 2, 1)), ("head", (1, 1, 2))])
def test_gates_multiply_the_value_before_and_the_output_after(granularity: str, shape: tuple[int, ...]) -> None:
    zero = torch.zeros(1, 1, 2, 1)
    value = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)
    spec = load_spec(
        f"attention test {{ causal gate value = relu(linear(x)) per {granularity}"
        f" gate output = 2 * sigmoid(linear(x)) per {granularity} }}"
    )
    gates = {
        "value": torch.tensor([2.0, -1.0]).view(shape),  # the values become 2, 0
        "output": torch.tensor([0.0, math.log(3)]).view(shape),  # factors 1 and 1.5
    }
    result = reference(spec, zero, zero, value, gates=gates)
    assert result.output.flatten().tolist() == pytest.approx([2.0, 1.5])


def test_two_gates_on_one_target_both_apply() -> None:
    spec = load_spec("attention test { causal gate output = linear(x) per head gate output = linear(x) ^ 2 per head }")
    one = torch.ones(1, 1, 1, 1)
    gates = {gate.name: torch.full((1, 1, 1), 3.0) for gate in spec.gates}
    assert reference(spec, one, one, one, gates=gates).output.item() == pytest.approx(27.0)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.gsa")), ids=lambda path: path.stem)
def test_blocks_of_rows_change_nothing(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_spec(example)
    spec = load_spec(example, small_params(spec, 24))
    inputs = make_inputs(spec, batch=2, length=24, heads=4, kv_heads=2, head_dim=8, dtype=torch.float64)
    results = []
    for block in (scores._BLOCK_ELEMENTS, 700):
        monkeypatch.setattr(scores, "_BLOCK_ELEMENTS", block)
        inputs.requires_grad_().zero_grad()
        result = reference(spec, inputs.query, inputs.key, inputs.value, **inputs.keywords())
        loss = result.output.square().sum()
        torch.autograd.backward(loss if result.indexer_loss is None else loss + result.indexer_loss)
        results.append((result.output, result.lse, *inputs.gradients().values()))
    for whole, blocks in zip(*results, strict=True):
        torch.testing.assert_close(whole, blocks)


def test_a_batch_is_its_sequences_one_by_one_and_its_loss_their_mean() -> None:
    spec = load_spec(EXAMPLES / "gsa.gsa", {"k_base": 4, "k_min": 2, "k_max": 6})
    both = make_inputs(spec, batch=2, length=12, heads=2, kv_heads=1, head_dim=4)
    whole = reference(spec, both.query, both.key, both.value, **both.keywords())
    losses = []
    for b in range(2):
        one = both.replaced({name: x if name == "index.b" else x[b : b + 1] for name, x in both.tensors().items()})
        alone = reference(spec, one.query, one.key, one.value, **one.keywords())
        torch.testing.assert_close(whole.output[b : b + 1], alone.output)
        assert torch.equal(whole.selected[b : b + 1], alone.selected)
        assert alone.indexer_loss is not None
        losses.append(alone.indexer_loss)
    assert whole.indexer_loss is not None
    torch.testing.assert_close(whole.indexer_loss, torch.stack(losses).mean())


def test_inputs_are_left_as_they_were() -> None:
    spec = load_spec(EXAMPLES / "gsa.gsa", {"k_base": 4, "k_min": 2, "k_max": 6})
    inputs = make_inputs(spec, batch=1, length=12, heads=2, kv_heads=1, head_dim=4)
    before = {name: x.clone() for name, x in inputs.tensors().items()}
    reference(spec, inputs.query, inputs.key, inputs.value, **inputs.keywords())
    assert all(torch.equal(x, before[name]) for name, x in inputs.tensors().items())


def test_what_does_not_fit_the_spec_is_refused() -> None:
    x = torch.zeros(1, 1, 2, 1)
    mask = torch.ones(1, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="no indexer to warm up"):
        reference(DENSE, x, x, x, phase="warmup")
    with pytest.raises(ValueError, match="'sparse' or 'warmup'"):
        reference(DENSE, x, x, x, phase="train")
    with pytest.raises(ValueError, match="gates must be"):
        reference(DENSE, x, x, x, gates={"output": x})
    with pytest.raises(ValueError, match="index must hold"):
        reference(DENSE, x, x, x, index={"k": x})
    indexer = "indexer { heads 1 dim 1 keys shared score[t, s] = sum(j) q[t, j] . k[s] }"
    spec = load_spec(f"attention test {{ causal {indexer} select top 1 tokens }}")
    with pytest.raises(ValueError, match="takes no selection"):
        reference(spec, x, x, x, index={"q": x, "k": x[0]}, phase="warmup", selection=mask)


def test_the_oracle_imports_nothing_that_it_judges() -> None:
    allowed = {"__future__", "collections", "dataclasses", "typing", "torch"}
    folder = Path(scores.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                own = name.startswith(("gsa_dsl.reference.", "gsa_dsl.sema.typed"))
                assert own or name in {"gsa_dsl.sema.typed"} or name.split(".")[0] in allowed, f"{path.name}: {name}"
