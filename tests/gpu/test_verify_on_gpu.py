"""Every example on the GPU against the float64 reference, well beyond the budget; and what only a GPU can show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import gsa_dsl
from gsa_dsl.runtime.validate import OperandError
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.verify import verify
from gsa_dsl.tuning.launches import launches_watched

pytestmark = pytest.mark.gpu

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PARAMS: dict[str, dict[str, int]] = {
    "alibi": {},
    "dense": {},
    "gated": {},
    "gsa_soft": {"k": 256, "recent": 64},
    "moba": {"k": 2, "block": 128},
    "msa": {"k": 3, "block": 64},
    "nsa_select": {"k": 5, "block": 64},
    "relative_bias": {},
    "sliding_sink": {"window": 256, "sinks": 4},
    "sparse_only": {"k": 256, "recent": 64},
    "dsa": {"k": 256},
    "gsa": {"k_base": 256, "k_min": 64, "k_max": 512},
    "packed": {"k_base": 256, "k_min": 64, "k_max": 512, "recent": 64},
    "top_p": {"k_max": 512, "recent": 64},
    "gsa_small": {"k_base": 256, "k_min": 64, "k_max": 512},
}
SHAPES = ((2, 1), (2, 129), (1, 1000), (1, 4096 + 37))
DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])


def test_every_example_has_parameters_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.gsa")} == set(PARAMS)


def compiled(
    name: str, heads: int, kv_heads: int, head_dim: int, value_dim: int | None = None
) -> gsa_dsl.CompiledAttention:
    return gsa_dsl.compile(
        EXAMPLES / f"{name}.gsa",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        backend="triton",
        params=PARAMS[name],
    )


@DTYPES
@pytest.mark.parametrize("name", sorted(PARAMS))
def test_examples_agree_with_the_reference(name: str, dtype: torch.dtype) -> None:
    report = verify(compiled(name, 8, 2, 64), shapes=SHAPES, dtype=dtype)
    assert report.ok, str(report)
    assert not report.notes


@DTYPES
@pytest.mark.parametrize("heads", [(8, 2, 80), (8, 2, 128), (16, 1, 64), (16, 1, 128), (6, 6, 96)], ids=str)
@pytest.mark.parametrize("name", ["dense", "gsa"])
def test_other_heads_agree_with_the_reference(name: str, heads: tuple[int, int, int], dtype: torch.dtype) -> None:
    report = verify(compiled(name, *heads), shapes=((1, 129), (1, 1000)), dtype=dtype, patterns=("normal", "hot_key"))
    assert report.ok, str(report)


@DTYPES
@pytest.mark.parametrize(
    "heads",
    [(4, 4, 16), (8, 2, 31), (16, 1, 96), (64, 1, 128), (64, 1, 256), (8, 2, 192, 128), (8, 2, 64, 128)],
    ids=str,
)
@pytest.mark.parametrize("name", ["sliding_sink", "gsa_small"])
def test_every_group_and_width_agrees_with_the_reference(name: str, heads: tuple[int, ...], dtype: torch.dtype) -> None:
    attention = compiled(name, *heads)
    if dtype is torch.float32 and not attention.meta.get("float32", True):
        x = make_inputs(attention.spec, batch=1, length=8, heads=heads[0], kv_heads=heads[1], head_dim=heads[2])
        with pytest.raises(OperandError, match="shared memory"):
            attention(x.query.cuda(), x.key.cuda(), x.value.cuda(), **x.keywords())
        return
    report = verify(attention, shapes=((1, 129), (1, 700)), dtype=dtype, patterns=("normal",))
    assert report.ok, str(report)


GATES = """attention gates {{ causal
  gate query  = 2 * sigmoid(linear(x)) per {0}
  gate key    = sigmoid(linear(x) + given(mask)) per {0}
  gate value  = tanh(linear(x)) per {0}
  gate output = sigmoid(linear(x)) per {0}
  gate output = silu(given(late)) per element
}}"""


@DTYPES
@pytest.mark.parametrize("granularity", ["element", "head", "shared"])
def test_every_gate_agrees_with_the_reference(granularity: str, dtype: torch.dtype) -> None:
    text = GATES.format(granularity)
    attention = gsa_dsl.compile(text, heads=8, kv_heads=2, head_dim=64, value_dim=80, backend="triton")
    report = verify(attention, shapes=((2, 1), (2, 129), (1, 1000)), dtype=dtype, patterns=("normal", "large"))
    assert report.ok, str(report)


def inputs_of(attention: gsa_dsl.CompiledAttention, length: int) -> Inputs:
    sizes = {name: attention.recipe[name] for name in ("heads", "kv_heads", "head_dim")}
    return make_inputs(attention.spec, batch=1, length=length, dtype=torch.bfloat16, device="cuda", **sizes)


def step(attention: gsa_dsl.CompiledAttention, x: Inputs) -> tuple[torch.Tensor, gsa_dsl.Aux]:
    output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    loss = output.float().square().sum()
    torch.autograd.backward(loss if aux.indexer_loss is None else loss + aux.indexer_loss)
    return output, aux


@pytest.mark.parametrize("name", ["gsa", "dsa"])
def test_selection_and_output_repeat_bit_for_bit(name: str) -> None:
    attention = compiled(name, 8, 2, 64)
    runs = []
    for _ in range(3):
        x = inputs_of(attention, 2000).requires_grad_()
        output, aux = step(attention, x)
        assert aux.selection is not None
        assert aux.budget is not None
        runs.append((aux.selection.mask(), aux.budget, output, aux.lse, x.gradients()["query"]))
    for again in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], again, strict=True))


@pytest.mark.parametrize("name", sorted(set(PARAMS) - {"dsa"}))  # dsa's 64 indexer heads are inputs of half a GiB
def test_no_tensor_is_quadratic_in_the_length(name: str) -> None:
    attention, length = compiled(name, 8, 2, 64), 32768
    x = inputs_of(attention, 1024).requires_grad_()
    step(attention, x)  # compiles the kernels
    torch.cuda.synchronize()
    x = repeated(x, length).requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output, _ = step(attention, x)
    assert output.isfinite().all()
    used = torch.cuda.max_memory_allocated() - before
    assert used < length * length, f"{used / 2**20:.0f} MiB beside the inputs"  # one byte a pair


def repeated(x: Inputs, length: int) -> Inputs:
    """``x`` repeated along its positions up to ``length``."""
    longer = {}
    for name, tensor in x.tensors().items():
        if name == "index.b" or name.startswith("extras."):
            longer[name] = tensor.detach().clone()
            continue
        # What has no features ends with the positions: the indexer's weights, gates per head and shared.
        flat = name == "index.w" or (name.startswith("gates.") and tensor.dim() < 4)
        axis = tensor.dim() - (1 if flat else 2)
        sizes = [1] * tensor.dim()
        sizes[axis] = length // tensor.shape[axis]
        longer[name] = tensor.detach().repeat(sizes)
    whole = x.replaced(longer)
    if x.documents is None:
        return whole
    copies = torch.arange(length // x.documents.shape[1], device=x.documents.device) * (x.documents.max() + 1)
    return dataclasses.replace(whole, documents=(x.documents[:, None] + copies[:, None]).flatten(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("heads", "ahead"), [((32, 2, 64), 4), ((16, 1, 128), 3)], ids=str)
@pytest.mark.parametrize("name", ["dsa", "gsa", "packed", "sparse_only", "top_p"])
def test_warps_with_jobs_of_their_own_agree_with_the_reference(
    name: str, heads: tuple[int, int, int], ahead: int, dtype: torch.dtype
) -> None:
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("a kernel for Hopper")
    planned = compiled(name, *heads)
    attention = planned.with_config(dataclasses.replace(planned.config, hopper=ahead))
    assert attention.kernels is not None
    launched: list[str] = []
    with launches_watched(attention.kernels, lambda kernel, *_: launched.append(kernel)):
        report = verify(attention, shapes=((1, 129), (2, 1000), (1, 4096 + 37)), dtype=dtype)
    assert report.ok, str(report)
    assert "attend_hopper_kernel" in launched
