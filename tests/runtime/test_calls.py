"""What a call may look like: phases, given selections and state, odd layouts, shapes, dtypes; all as the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.inputs import Inputs, make_inputs
from tests.codegen.generated import EXAMPLES, PARAMS, ROOT
from tests.runtime.agreement import agree

# A small indexer: the examples' own are wide, and the interpreter slow.
SPARSE = """attention sparse { causal
  gate value  = tanh(linear(x))    per head
  gate output = sigmoid(linear(x)) per element
  gate output = 1 + 0.5 * tanh(linear(x)) per head
  indexer { heads 2  dim 16  keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j]) }
  budget[t] = clamp(5 * ema(var(score[t]), init = 0.02) / var(score[t]), 2, 9)
  select top budget tokens
  always last 2
  train indexer with kl(temperature = 0.5)
}"""
DENSE = "attention dense { causal\n gate output = sigmoid(linear(x)) per element }"
WINDOW = "attention window { causal\n always first 2, last 5 }"
TILES = KernelConfig(tile=4, block_keys=16, backward_keys=16, score_rows=16, score_keys=16, strip=1, scan_keys=32)
SHAPE = {"heads": 4, "kv_heads": 2, "head_dim": 16}
LENGTH = 27
GROUPS = [(8, 1, 16), (16, 1, 31), (64, 1, 16), (12, 2, 96), (8, 2, 24)]
Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture(scope="module", params=["torch", "interpret"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """``compiled(text, heads=..., ...)`` for the backend of the test."""
    cache = tmp_path_factory.mktemp("cache")

    def make(text: str = SPARSE, **changed: Any) -> gsa_dsl.CompiledAttention:
        defaults = {**SHAPE, "backend": request.param, "config": TILES, "cache_dir": cache}
        return gsa_dsl.compile(text, **(defaults | changed))

    return make


def inputs_of(attention: gsa_dsl.CompiledAttention, length: int = LENGTH, **options: Any) -> Inputs:
    sizes = {name: attention.recipe[name] for name in SHAPE}
    return make_inputs(attention.spec, **({"batch": 2, "length": length} | sizes | options))


@pytest.mark.parametrize("text", [SPARSE, DENSE, WINDOW], ids=["sparse", "dense", "window"])
def test_what_comes_with_the_output(compiled: Compile, text: str) -> None:
    attention = compiled(text)
    x = inputs_of(attention)
    aux = agree(attention, x)
    assert aux.lse.dtype is torch.float32
    assert aux.lse.shape == (2, 4, LENGTH)
    if text is not SPARSE:
        assert (aux.budget, aux.indexer_loss, aux.ema_inputs, aux.selection) == (None, None, None, None)
        return
    assert aux.budget.dtype is torch.int32
    assert aux.budget.shape == (2, LENGTH)
    assert aux.indexer_loss.dtype is torch.float32
    assert aux.indexer_loss.shape == ()
    exact = attention.reference(x.query, x.key, x.value, **x.keywords())
    assert torch.equal(aux.budget.long(), exact.budget)
    assert aux.ema_inputs.dtype is torch.float32
    assert not aux.ema_inputs.requires_grad
    torch.testing.assert_close(aux.ema_inputs.double(), exact.ema_inputs, rtol=1e-5, atol=0)
    assert not aux.lse.requires_grad


@pytest.mark.parametrize("text", [SPARSE, DENSE, WINDOW], ids=["sparse", "dense", "window"])
def test_the_output_is_the_same_without_the_rest(compiled: Compile, text: str) -> None:
    attention = compiled(text)
    x = inputs_of(attention)
    output, _ = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    alone = attention(x.query, x.key, x.value, **x.keywords())
    assert isinstance(alone, Tensor)
    assert torch.equal(alone, output)


@pytest.mark.parametrize("text", [SPARSE, DENSE, WINDOW], ids=["sparse", "dense", "window"])
def test_gradients_are_the_same_without_the_rest(compiled: Compile, text: str) -> None:
    attention = compiled(text)
    x = inputs_of(attention).requires_grad_()
    gradients = []
    for return_aux in (True, False):
        x.zero_grad()
        result = attention(x.query, x.key, x.value, **x.keywords(), return_aux=return_aux)
        output = result[0] if return_aux else result
        torch.autograd.backward(output, torch.ones_like(output))
        gradients.append(x.gradients())
    with_aux, without = gradients
    for name in ("query", "key", "value", *(name for name in with_aux if name.startswith("gates."))):
        assert with_aux[name].abs().sum() > 0
        torch.testing.assert_close(without[name], with_aux[name], rtol=1e-6, atol=1e-6)


def test_the_state_moves_the_budget(compiled: Compile) -> None:
    attention = compiled()
    x = inputs_of(attention)
    assert x.ema is not None
    budgets = []
    for state in (None, torch.tensor([0.02]), torch.tensor([1e-6]), torch.tensor([1e3])):
        given = {**x.keywords(), "ema": state}
        _, aux = attention(x.query, x.key, x.value, **given, return_aux=True)
        exact = attention.reference(x.query, x.key, x.value, **given)
        assert torch.equal(aux.budget.long(), exact.budget)
        budgets.append(aux.budget)
    left_out, initial, small, large = budgets
    assert torch.equal(left_out, initial)
    assert small.max() < large.max() == 9
    no_gradient = torch.tensor([0.02], requires_grad=True)
    output = attention(x.query, x.key, x.value, **{**x.keywords(), "ema": no_gradient})
    assert not output.requires_grad


def test_warm_up_attends_to_every_key_and_still_trains_the_indexer(compiled: Compile) -> None:
    attention = compiled()
    aux = agree(attention, inputs_of(attention), phase="warmup")
    assert aux.selection is None
    assert aux.budget is None
    assert aux.ema_inputs is None
    assert aux.indexer_loss is not None


def test_a_given_selection_replaces_the_choice(compiled: Compile) -> None:
    attention = compiled()
    x = inputs_of(attention)
    generator = torch.Generator().manual_seed(5)
    mask = (torch.rand((2, LENGTH, LENGTH), generator=generator) < 0.4).tril()
    mask[0, 3] = False  # a query without any key
    aux = agree(attention, x, selection=mask)
    assert aux.budget is None
    assert aux.ema_inputs is None
    assert torch.equal(aux.selection.mask(), mask)
    output, _ = attention(x.query, x.key, x.value, **x.keywords(), selection=mask, return_aux=True)
    assert output[0, :, 3].eq(0).all()


def test_a_selection_cannot_see_the_future(compiled: Compile) -> None:
    attention = compiled()
    x = inputs_of(attention)
    every = torch.ones(2, LENGTH, LENGTH, dtype=torch.bool)
    agree(attention, x, selection=every)


def test_an_earlier_choice_can_be_used_again(compiled: Compile, tmp_path_factory: pytest.TempPathFactory) -> None:
    attention = compiled()
    x = inputs_of(attention)
    output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    again, second = attention(x.query, x.key, x.value, **x.keywords(), selection=aux.selection, return_aux=True)
    assert torch.equal(again, output)
    assert torch.equal(second.selection.mask(), aux.selection.mask())
    torch.testing.assert_close(second.indexer_loss, aux.indexer_loss, rtol=1e-6, atol=0)
    # one made with other tiles, or by the other backend, is as good
    other_backend = "interpret" if attention.backend == "torch" else "torch"
    for changed in ({"config": KernelConfig(tile=16, block_keys=16, backward_keys=16)}, {"backend": other_backend}):
        other = compiled(**changed)
        third = other(x.query, x.key, x.value, **x.keywords(), selection=aux.selection)
        torch.testing.assert_close(third, output, rtol=1e-5, atol=1e-5)
        _, theirs = other(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        fourth = attention(x.query, x.key, x.value, **x.keywords(), selection=theirs.selection)
        torch.testing.assert_close(fourth, output, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"selection has shape \[2, 27, 27\], expected \[1, 27, 27\]"):
        attention(
            x.query[:1],
            x.key[:1],
            x.value[:1],
            gates={name: z[:1] for name, z in (x.gates or {}).items()},
            index={name: z if name == "b" else z[:1] for name, z in (x.index or {}).items()},
            selection=aux.selection,
        )


def transposed(x: Inputs) -> Inputs:
    """The same values, position before head in memory: views of [B, L, H, D], as projections leave them."""
    tensors = {}
    for name, tensor in x.tensors().items():
        swap = tensor.dim() >= 3 and name != "index.k"
        tensors[name] = tensor.transpose(1, 2).contiguous().transpose(1, 2) if swap else tensor
    return x.replaced(tensors)


def expanded(x: Inputs) -> Inputs:
    """One sequence for the whole batch, with a stride of 0."""
    tensors = {name: z if name == "index.b" else z[:1].expand_as(z) for name, z in x.tensors().items()}
    return x.replaced({name: z.detach() for name, z in tensors.items()})


def sliced(x: Inputs) -> Inputs:
    """Every tensor a part of a larger one."""
    tensors = {}
    for name, tensor in x.tensors().items():
        larger = torch.full([size + 3 for size in tensor.shape], torch.nan)
        part = larger[tuple(slice(2, 2 + size) for size in tensor.shape)]
        part.copy_(tensor)
        tensors[name] = part
    return x.replaced(tensors)


@pytest.mark.parametrize("layout", [transposed, Inputs.strided, sliced, expanded], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("text", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_any_layout_of_memory(compiled: Compile, text: str, layout: Callable[[Inputs], Inputs]) -> None:
    attention = compiled(text)
    x = layout(inputs_of(attention))
    assert not x.query.is_contiguous()
    agree(attention, x)


@pytest.mark.parametrize(
    "shape",
    [(6, 1, 16), (6, 2, 16), (1, 1, 16), (2, 2, 80), (2, 1, 31), (1, 1, 1), (3, 3, 48), (1, 1, 256), *GROUPS],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize("text", [SPARSE, WINDOW], ids=["sparse", "window"])
def test_odd_head_shapes(compiled: Compile, text: str, shape: tuple[int, int, int]) -> None:
    heads, kv_heads, head_dim = shape
    attention = compiled(text, heads=heads, kv_heads=kv_heads, head_dim=head_dim, config=None)
    agree(attention, inputs_of(attention, length=19, batch=1))


def test_an_indexer_of_odd_width(compiled: Compile) -> None:
    attention = compiled(SPARSE.replace("heads 2  dim 16", "heads 3  dim 20"))
    agree(attention, inputs_of(attention, length=19, batch=1))


def test_an_indexer_of_more_heads_than_are_unrolled(compiled: Compile) -> None:
    attention = compiled(SPARSE.replace("heads 2  dim 16", "heads 9  dim 20"))
    agree(attention, inputs_of(attention, length=19, batch=1))


@pytest.mark.parametrize("reduction", ["max", "mean"])
@pytest.mark.parametrize("heads", [2, 9])
def test_other_reductions_over_index_heads(compiled: Compile, reduction: str, heads: int) -> None:
    text = f"""attention a {{ causal
      indexer {{ heads {heads}  dim 16  keys shared
        score[t, s] = tanh({reduction}(j) w[t, j] * q[t, j] . k[s] / dim) * (sum(j) sigmoid(b[j])) }}
      select top 6 tokens  train indexer with kl }}"""
    attention = compiled(text)
    agree(attention, inputs_of(attention, length=19, batch=1))


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17])
@pytest.mark.parametrize("text", [SPARSE, DENSE, WINDOW], ids=["sparse", "dense", "window"])
def test_short_sequences(compiled: Compile, text: str, length: int) -> None:
    attention = compiled(text)
    agree(attention, inputs_of(attention, length=length))


@pytest.mark.parametrize("text", [SPARSE, DENSE, WINDOW], ids=["sparse", "dense", "window"])
def test_float16(compiled: Compile, text: str) -> None:
    attention = compiled(text)
    x = inputs_of(attention, dtype=torch.float16, batch=1)
    output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    assert output.dtype is torch.float16
    assert aux.lse.dtype is torch.float32
    mask = None if aux.selection is None else aux.selection.mask()
    agree(attention, x, 4e-3, **({} if mask is None else {"selection": mask}))
    if mask is not None:  # gates and weights of the indexer may stay in float32
        index = {name: z.float() if name in ("w", "b") else z for name, z in x.index.items()}
        mixed, _ = attention(x.query, x.key, x.value, gates=x.gates, index=index, ema=x.ema, return_aux=True)
        torch.testing.assert_close(mixed, output, rtol=4e-3, atol=4e-3)


def test_float64_on_the_torch_backend_is_the_reference(tmp_path: Any) -> None:
    attention = gsa_dsl.compile(SPARSE, **SHAPE, backend="torch", cache_dir=tmp_path)
    agree(attention, inputs_of(attention, dtype=torch.float64), 1e-7)
    x = inputs_of(attention, dtype=torch.float64)
    output = attention(x.query, x.key, x.value, **x.keywords())
    exact = attention.reference(x.query, x.key, x.value, **x.keywords())
    torch.testing.assert_close(output, exact.output, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_backends_agree_on_the_examples(name: str, tmp_path: Any) -> None:
    path, outputs = ROOT / "examples" / f"{name}.gsa", []
    if name == "dsa":
        pytest.skip("64 heads of 128 take the interpreter minutes; its form is that of nine heads above")
    for backend in ("torch", "interpret"):
        attention = gsa_dsl.compile(path, **SHAPE, backend=backend, cache_dir=tmp_path, params=PARAMS[name])
        x = inputs_of(attention, length=21, batch=1)
        outputs.append(attention(x.query, x.key, x.value, **x.keywords()))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)


def test_deterministic_algorithms_are_honoured(compiled: Compile) -> None:
    """Atomics in the backward of a choice have no fixed order: asked for determinism, the kernels refuse it aloud."""
    attention = compiled()
    x = inputs_of(attention, length=9, batch=1).requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        output, _ = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        if attention.backend == "torch":
            torch.autograd.backward(output, torch.ones_like(output))
        else:
            with pytest.raises(RuntimeError, match=r"no fixed order.*backend='torch' has a deterministic backward"):
                torch.autograd.backward(output, torch.ones_like(output))
    finally:
        torch.use_deterministic_algorithms(False)
