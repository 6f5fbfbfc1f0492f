"""Gates of the module: where they start, what they project, what the caller gives, and values of another width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl.nn.rotary import rotate
from tests.nn.small import D_MODEL, HEAD_DIM, HEADS, KV_HEADS

IDENTITIES = (
    ("query", "2 * sigmoid(linear(x))", "element", 0.0),
    ("key", "1 + tanh(linear(x))", "head", 0.0),
    ("value", "softplus(linear(x, features = 8))", "shared", 0.5413248546129181),
    ("output", "exp(linear(x))", "element", 0.0),
    ("output", "silu(linear(x))", "head", 1.2784645427610738),
    ("output", "3 * sigmoid(linear(x) - 2)", "shared", 1.3068528194400546),
)


def module_of(folder: Path, *clauses: str, d_model: int = D_MODEL, value_dim: int | None = None) -> Any:
    text = "\n".join(["attention gates { causal", *clauses, "}"])
    shape = {"heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "value_dim": value_dim}
    compiled = gsa_dsl.compile(text, **shape, backend="torch", cache_dir=folder)
    torch.manual_seed(1)
    return compiled.module(d_model).double()


def input_of(length: int = 19) -> torch.Tensor:
    return torch.randn(2, length, D_MODEL, generator=torch.Generator().manual_seed(2)).double()


def test_gates_that_start_as_the_identity_change_nothing(tmp_path: Path) -> None:
    clauses = [f"gate {target} = {body} per {per} starts identity" for target, body, per, _ in IDENTITIES]
    gated, plain = module_of(tmp_path, *clauses), module_of(tmp_path)
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        getattr(gated, name).load_state_dict(getattr(plain, name).state_dict())
    x = input_of()
    torch.testing.assert_close(gated(x), plain(x), rtol=1e-6, atol=1e-6)  # biases were float32 once
    gated(x).square().sum().backward()
    for name, layer in gated.gate_proj.items():
        assert layer.weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("target", "body", "per", "bias"), IDENTITIES, ids=[body for _, body, _, _ in IDENTITIES])
def test_the_bias_that_makes_a_gate_one(target: str, body: str, per: str, bias: float, tmp_path: Path) -> None:
    module = module_of(tmp_path, f"gate {target} = {body} per {per} starts identity")
    (gate,) = module.compiled.spec.gates
    assert gate.identity == pytest.approx(bias, abs=1e-15)
    (layer,) = module.gate_proj.values()
    assert layer.weight.eq(0).all()
    torch.testing.assert_close(layer.bias, torch.full_like(layer.bias, bias), rtol=1e-6, atol=0)


def test_a_gate_starts_as_the_identity_only_when_it_says_so(tmp_path: Path) -> None:
    module = module_of(tmp_path, "gate output = 2 * sigmoid(linear(x)) per element")
    (layer,) = module.gate_proj.values()
    assert layer.weight.abs().sum() > 0
    assert layer.bias.eq(0).all()


def test_it_computes_the_reference_on_its_projections_and_what_is_given(tmp_path: Path) -> None:
    clauses = (
        "gate query  = sigmoid(linear(x)) per head",
        "gate key    = sigmoid(linear(x, features = 8) + given(mask)) per shared",
        "gate value  = tanh(linear(x)) per element",
        "gate output = given(late) per element",
    )
    module, x = module_of(tmp_path, *clauses, value_dim=12), input_of()
    layers, length = module.gate_proj, x.shape[1]
    assert set(layers) == {"query", "key", "value"}
    assert (layers["key"].in_features, layers["key"].out_features) == (8, 1)
    given = {"mask": torch.randn(2, length).double(), "late": torch.randn(2, HEADS, length, 12).double()}

    def heads(flat: torch.Tensor, count: int) -> torch.Tensor:
        return flat.view(2, length, count, -1).permute(0, 2, 1, 3)

    expected = module.compiled.reference(
        rotate(heads(module.q_proj(x), HEADS), 10000.0),
        rotate(heads(module.k_proj(x), KV_HEADS), 10000.0),
        heads(module.v_proj(x), KV_HEADS),
        gates={
            "query": layers["query"](x).permute(0, 2, 1),
            "key": layers["key"](x[..., :8])[..., 0],
            "value": heads(layers["value"](x), KV_HEADS),
            **given,
        },
    )
    attended = expected.output.permute(0, 2, 1, 3).reshape(2, length, HEADS * 12)
    torch.testing.assert_close(module(x, gates=given), module.o_proj(attended), rtol=1e-7, atol=1e-9)
    assert "value_dim=12" in repr(module)


def test_given_tensors_pass_gradients_and_come_in_any_precision(tmp_path: Path) -> None:
    module, x = module_of(tmp_path, "gate value = sigmoid(given(mask)) per shared"), input_of()
    mask = torch.zeros(2, x.shape[1], requires_grad=True)
    module(x, gates={"mask": mask}).square().sum().backward()
    assert mask.grad is not None
    assert mask.grad.dtype is torch.float32
    assert mask.grad.abs().sum() > 0


def test_names_that_are_not_given_are_told(tmp_path: Path) -> None:
    module, x = module_of(tmp_path, "gate value = sigmoid(linear(x) + given(mask)) per shared"), input_of()
    for wrong in (None, {}, {"mask": x[..., 0], "value": x[..., 0]}):
        with pytest.raises(ValueError, match=r"gates must hold \['mask'\], got"):
            module(x, gates=wrong)
    with pytest.raises(ValueError, match=r"gates must hold \[\], got \['mask'\]"):
        module_of(tmp_path)(x, gates={"mask": x[..., 0]})


def test_a_projection_of_more_features_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"gate 'value' reads 99 features of x, d_model is {D_MODEL}"):
        module_of(tmp_path, "gate value = sigmoid(linear(x, features = 99)) per head")
