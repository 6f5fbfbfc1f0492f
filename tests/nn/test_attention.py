"""The module: what it computes, what it learns, and what it keeps."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gsa_dsl
from gsa_dsl.nn.rotary import rotate
from tests.nn.small import D_MODEL, HEAD_DIM, HEADS, KV_HEADS, SMALL, Compile

INDEXED = ("dsa", "sparse_only", "gsa")


def _module(compiled: Compile, name: str, **options: object) -> gsa_dsl.GSAttention:
    torch.manual_seed(1)
    module: gsa_dsl.GSAttention = compiled(name).module(D_MODEL, **options)
    return module


def _input(batch: int = 2, length: int = 33) -> Tensor:
    return torch.randn(batch, length, D_MODEL, generator=torch.Generator().manual_seed(2))


def _heads(flat: Tensor, heads: int) -> Tensor:
    batch, length, _ = flat.shape
    return flat.view(batch, length, heads, -1).permute(0, 2, 1, 3)


@pytest.mark.parametrize("name", SMALL)
def test_every_example_makes_a_module_that_trains(compiled: Compile, name: str) -> None:
    module, x = _module(compiled, name), _input().requires_grad_()
    output = module(x)
    assert output.shape == x.shape
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    ((output * cotangent).sum() + gsa_dsl.indexer_loss(module)).backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("index_rope", [False, True])
def test_it_computes_the_reference_on_its_projections(compiled: Compile, index_rope: bool, bias: bool) -> None:
    made = compiled("gsa")
    module = _module(compiled, "gsa", bias=bias, index_rope=index_rope, rope_base=500.0).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = _input().double()
    layers = module.gate_proj
    q = _heads(module.index_proj["q"](x), 4)
    k = module.index_proj["k"](x)
    index = {
        "q": rotate(q, 500.0) if index_rope else q,
        "k": rotate(k, 500.0) if index_rope else k,
        "w": module.index_proj["w"](x).permute(0, 2, 1),
        "b": module.index_bias,
    }
    expected = made.reference(
        rotate(_heads(module.q_proj(x), HEADS), 500.0),
        rotate(_heads(module.k_proj(x), KV_HEADS), 500.0),
        _heads(module.v_proj(x), KV_HEADS),
        gates={"value": _heads(layers["value"](x), KV_HEADS), "output": _heads(layers["output"](x), HEADS)},
        index=index,
    )
    output, aux = module(x, return_aux=True)
    attended = expected.output.permute(0, 2, 1, 3).reshape(2, 33, HEADS * HEAD_DIM)
    assert torch.equal(aux.selection.mask(), expected.selected)
    torch.testing.assert_close(output, module.o_proj(attended), atol=1e-9, rtol=1e-7)


def test_gates_per_head_have_one_feature_a_head(tmp_path: object) -> None:
    spec = """attention small {
      causal
      gate value = sigmoid(linear(x)) per head
      gate output = 2 * sigmoid(linear(x)) per head
    }"""
    made = gsa_dsl.compile(spec, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, backend="torch", cache_dir=tmp_path)
    module = made.module(D_MODEL)
    assert module.gate_proj["value"].out_features == KV_HEADS
    assert module.gate_proj["output"].out_features == HEADS
    x = _input()
    before = module(x)
    with torch.no_grad():
        module.gate_proj["output"].weight.zero_()
        module.gate_proj["output"].bias.fill_(100.0)
    plain = module(x)
    with torch.no_grad():
        module.gate_proj["output"].bias[1:] = -100.0
    only_first = module(x)
    features = module.o_proj.weight[:, HEAD_DIM:]
    with torch.no_grad():
        features.zero_()
        module.gate_proj["output"].bias.fill_(100.0)
    torch.testing.assert_close(only_first, module(x))
    assert not torch.allclose(before, plain)


def test_gates_start_where_the_spec_puts_them(compiled: Compile) -> None:
    module = _module(compiled, "gsa")
    for layer in module.gate_proj.values():
        assert isinstance(layer.bias, Tensor)
        assert not layer.bias.any()
    assert module.index_bias is not None
    assert not module.index_bias.any()


@pytest.mark.parametrize("name", INDEXED)
def test_each_loss_trains_its_own_part(compiled: Compile, name: str) -> None:
    module, x = _module(compiled, name), _input()
    index = {id(p) for p in module.index_proj.parameters()} | {id(module.index_bias)}
    output = module(x)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    (output * cotangent).sum().backward(retain_graph=True)
    for parameter_name, parameter in module.named_parameters():
        touched = parameter.grad is not None and bool(parameter.grad.any())
        assert touched is (id(parameter) not in index), parameter_name
    module.zero_grad()
    gsa_dsl.indexer_loss(module).backward()
    for parameter_name, parameter in module.named_parameters():
        touched = parameter.grad is not None and bool(parameter.grad.any())
        assert touched is (id(parameter) in index), parameter_name


def test_no_gradient_of_the_indexer_reaches_the_input(compiled: Compile) -> None:
    module, x = _module(compiled, "gsa"), _input().requires_grad_()
    module(x)
    gsa_dsl.indexer_loss(module).backward()
    assert x.grad is None or not x.grad.any()


@pytest.mark.parametrize("name", SMALL)
def test_the_future_does_not_reach_the_past(compiled: Compile, name: str) -> None:
    module, x = _module(compiled, name).eval(), _input()
    changed = x.clone()
    changed[:, 20:] = torch.randn(changed[:, 20:].shape, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(module(x)[:, :20], module(changed)[:, :20], atol=1e-6, rtol=0)
    assert not torch.allclose(module(x)[:, 20:], module(changed)[:, 20:])


def test_without_positions_the_order_of_the_past_does_not_matter(compiled: Compile) -> None:
    x = _input()
    shuffled = torch.cat((x[:, torch.randperm(32, generator=torch.Generator().manual_seed(4))], x[:, 32:]), dim=1)
    blind = _module(compiled, "dense", rope_base=None).eval()
    torch.testing.assert_close(blind(x)[:, 32], blind(shuffled)[:, 32], atol=1e-5, rtol=1e-5)
    seeing = _module(compiled, "dense").eval()
    assert not torch.allclose(seeing(x)[:, 32], seeing(shuffled)[:, 32], atol=1e-5)


# --- the running mean ------------------------------------------------------------------------------------------------


def test_the_running_mean_moves_in_training_only(compiled: Compile) -> None:
    module, x = _module(compiled, "gsa"), _input()
    (ema,) = compiled("gsa").spec.emas
    assert module.budget_ema is not None
    before = module.budget_ema.clone()
    assert before.tolist() == [ema.init]
    module.eval()
    module(x)
    _, aux = module(x, return_aux=True)
    assert torch.equal(module.budget_ema, before)
    assert module.indexer_loss is None
    module.train()
    module(x)
    torch.testing.assert_close(module.budget_ema, ema.decay * before + (1 - ema.decay) * aux.ema_inputs)
    assert not torch.equal(module.budget_ema, before)


def test_a_step_uses_the_mean_from_before_it(compiled: Compile) -> None:
    module, x = _module(compiled, "gsa"), _input()
    twin = copy.deepcopy(module).eval()
    torch.testing.assert_close(module(x), twin(x))
    assert module.budget_ema is not None
    module.budget_ema.fill_(1e9)
    _, all_chosen = module(x, return_aux=True)
    assert all_chosen.budget is not None
    assert all_chosen.budget.max() == SMALL["gsa"]["k_max"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_running_mean_stays_float32(compiled: Compile, dtype: torch.dtype) -> None:
    module = _module(compiled, "gsa")
    assert module.budget_ema is not None
    module.budget_ema.fill_(0.123456789)
    kept = module.budget_ema.clone()
    module.to(dtype)
    assert module.q_proj.weight.dtype == dtype
    assert module.budget_ema.dtype == torch.float32
    assert torch.equal(module.budget_ema, kept)


def test_a_module_made_on_meta_can_be_filled(compiled: Compile) -> None:
    module = _module(compiled, "gsa", device="meta")
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    module.to_empty(device="cpu")
    module.load_state_dict(_module(compiled, "gsa").state_dict())
    torch.testing.assert_close(module(_input()), _module(compiled, "gsa")(_input()))


# --- copies ----------------------------------------------------------------------------------------------------------


def _trained(compiled: Compile) -> gsa_dsl.GSAttention:
    """A module after a step: its loss has a graph, its running mean has moved."""
    module = _module(compiled, "gsa", rope_base=777.0)
    module(_input())
    return module


def test_state_dict_round_trip(compiled: Compile) -> None:
    module, other = _trained(compiled), _module(compiled, "gsa", rope_base=777.0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(module.state_dict())
    assert "budget_ema" in module.state_dict()
    assert torch.equal(other.eval()(_input()), module.eval()(_input()))


def test_deepcopy_shares_the_kernels_and_nothing_else(compiled: Compile) -> None:
    module = _trained(compiled)
    twin = copy.deepcopy(module)
    assert twin.compiled is module.compiled
    assert twin.indexer_loss is None
    assert torch.equal(twin.eval()(_input()), module.eval()(_input()))
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.add_(1.0)
    assert not any(torch.equal(a, b) for a, b in zip(module.parameters(), twin.parameters(), strict=True))
    assert not torch.equal(module.state_dict()["budget_ema"], twin.state_dict()["budget_ema"])


def test_pickle_round_trip(compiled: Compile) -> None:
    module = _trained(compiled).warmup()
    twin = pickle.loads(pickle.dumps(module))
    assert twin.phase == "warmup"
    assert twin.indexer_loss is None
    assert twin.compiled.recipe == module.compiled.recipe
    assert torch.equal(twin.eval()(_input()), module.eval()(_input()))


def test_torch_save_of_a_model_round_trip(compiled: Compile) -> None:
    model = nn.Sequential(_trained(compiled), nn.LayerNorm(D_MODEL), _trained(compiled))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again.eval()(_input()), model.eval()(_input()))


# --- phases and losses -----------------------------------------------------------------------------------------------


def test_warmup_attends_densely_and_trains_the_indexer(compiled: Compile) -> None:
    module, x = _module(compiled, "dsa"), _input()
    dense = _module(compiled, "dense")
    dense.load_state_dict(module.state_dict(), strict=False)
    sparse = module(x)
    warm = module.warmup()(x)
    torch.testing.assert_close(warm, dense(x), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(warm, sparse, atol=1e-4)
    gsa_dsl.indexer_loss(module).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.index_proj.parameters())
    torch.testing.assert_close(module.warmup(False)(x), sparse)


def test_without_an_indexer_there_is_nothing_to_warm_up(compiled: Compile) -> None:
    module = _module(compiled, "gated")
    with pytest.raises(ValueError, match="'gated' has no indexer"):
        module.warmup()
    assert module.warmup(False) is module


def test_indexer_loss_sums_over_the_model(compiled: Compile) -> None:
    model = nn.ModuleList([_module(compiled, "gsa"), _module(compiled, "dense"), _module(compiled, "dsa")])
    for layer in model:
        layer(_input())
    assert model[0].indexer_loss > 0
    assert model[1].indexer_loss is None
    torch.testing.assert_close(gsa_dsl.indexer_loss(model), model[0].indexer_loss + model[2].indexer_loss)


def test_indexer_loss_of_a_model_without_indexers_is_zero(compiled: Compile) -> None:
    assert gsa_dsl.indexer_loss(_module(compiled, "dense")).item() == 0
    assert gsa_dsl.indexer_loss(nn.Linear(2, 2)).item() == 0


def test_indexer_loss_before_a_forward_pass_says_so(compiled: Compile) -> None:
    model = nn.ModuleDict({"block": _module(compiled, "gsa")})
    with pytest.raises(RuntimeError, match="'block' of the model has no indexer loss yet"):
        gsa_dsl.indexer_loss(model)


# --- options and misuse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "gsa"])
def test_autocast(compiled: Compile, name: str) -> None:
    module, x = _module(compiled, name), _input()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(x)
        loss = output.float().square().mean() + gsa_dsl.indexer_loss(module)
    loss.backward()
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), _module(compiled, name)(x), atol=0.05, rtol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_attention_itself_is_left_out_of_autocast(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    real, enabled = gsa_dsl.CompiledAttention.__call__, []

    def call(self: gsa_dsl.CompiledAttention, *args: Any, **options: Any) -> Any:
        enabled.append(torch.is_autocast_enabled("cpu"))
        return real(self, *args, **options)

    monkeypatch.setattr(gsa_dsl.CompiledAttention, "__call__", call)
    module = _module(compiled, "gsa")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(_input()).dtype == torch.bfloat16
        assert module.eval()(_input()).dtype == torch.bfloat16
    assert enabled == [False, False]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dense", {"index_rope": True}, "no indexer"),
        ("gsa", {"index_rope": True, "rope_base": None}, "needs a rope_base"),
    ],
)
def test_options_the_spec_has_no_use_for(
    compiled: Compile, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _module(compiled, name, **options)


def test_sizes_that_cannot_be(compiled: Compile, tmp_path: object) -> None:
    with pytest.raises(ValueError, match="d_model must be at least 1"):
        compiled("dense").module(0)
    odd = gsa_dsl.compile("attention a { causal }", heads=2, head_dim=7, backend="torch", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="even head_dim"):
        odd.module(8)
    assert odd.module(8, rope_base=None)(torch.randn(1, 5, 8)).shape == (1, 5, 8)


@pytest.mark.parametrize("shape", [(5, D_MODEL), (2, 5, D_MODEL + 1)])
def test_a_wrong_input_is_refused(compiled: Compile, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected x \[B, L, 24\]"):
        _module(compiled, "dense")(torch.randn(shape))


def test_its_name_tells_what_it_is(compiled: Compile) -> None:
    assert "gsa, heads=4, kv_heads=2, head_dim=8, phase=sparse" in repr(_module(compiled, "gsa"))


def test_sinks_and_tables_are_parameters_that_start_at_zero(compiled: Compile) -> None:
    shapes = {"alibi": {"extras.sink": (HEADS,)}, "relative_bias": {"extras.bias": (HEADS, 4)}, "gated": {}}
    for name, wanted in shapes.items():
        found = {key: x for key, x in _module(compiled, name).state_dict().items() if key.startswith("extras.")}
        assert {key: tuple(x.shape) for key, x in found.items()} == wanted
        assert all((x == 0).all() for x in found.values())


def test_an_indexer_in_the_logits_passes_the_gradient_of_its_input_on(compiled: Compile) -> None:
    """The output is a function of the input through the scores too: finite differences see it, so must autograd."""
    module = _module(compiled, "gsa_soft").double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = _input(1, 9).double().requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(module(x).square().sum(), x)
    with torch.no_grad():
        ends = [module(x + step * direction).square().sum() for step in (1e-6, -1e-6)]
    torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)
    for name, parameter in module.index_proj.named_parameters():
        assert parameter.requires_grad, name


@pytest.mark.parametrize("index_rope", [False, True])
def test_packed_documents_are_their_own_sequences(tmp_path: object, index_rope: bool) -> None:
    text = """attention packed { causal  documents  gate output = sigmoid(linear(x)) per head
      indexer { heads 2  dim 8  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s] + b[j]) }
      select top 4 tokens  always first 1, last 2  train indexer with kl }"""
    made = [
        gsa_dsl.compile(
            spec, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, backend="torch", cache_dir=str(tmp_path)
        )
        for spec in (text, text.replace("documents", ""))
    ]
    packed = made[0].module(D_MODEL, index_rope=index_rope)
    alone = made[1].module(D_MODEL, index_rope=index_rope)
    alone.load_state_dict(packed.state_dict())
    lengths = (7, 1, 20)
    x = torch.randn(2, sum(lengths), D_MODEL, generator=torch.Generator().manual_seed(4))
    documents = torch.cat([torch.full((2, length), number) for number, length in enumerate(lengths)], 1)
    output = packed(x, documents=documents)
    parts = []
    loss = torch.zeros(())
    for piece in x.split(lengths, 1):
        parts.append(alone(piece))
        assert alone.indexer_loss is not None
        loss = loss + alone.indexer_loss * piece.shape[1] / x.shape[1]
    torch.testing.assert_close(output, torch.cat(parts, 1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(packed.indexer_loss, loss, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="documents"):
        packed(x)
    with pytest.raises(ValueError, match="documents"):
        alone(x, documents=documents)


def test_rotary_positions_restart_with_every_document(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Angles between two positions would be the same; that they stay small keeps them exact."""
    text = "attention packed { causal  documents }"
    made = gsa_dsl.compile(text, heads=HEADS, head_dim=HEAD_DIM, backend="torch", cache_dir=str(tmp_path))
    seen = []

    def spy(x: torch.Tensor, base: float, positions: torch.Tensor | None = None) -> torch.Tensor:
        assert positions is not None
        seen.append(positions.broadcast_to(x.shape[:-1])[:, 0].tolist())
        return rotate(x, base, positions)

    monkeypatch.setattr("gsa_dsl.nn.attention.rotate", spy)
    documents = torch.tensor([[3, 3, 3, 1, 8, 8], [0, 1, 1, 1, 1, 1]])
    made.module(D_MODEL)(torch.randn(2, 6, D_MODEL), documents=documents)
    assert seen == [[[0, 1, 2, 0, 0, 1], [0, 0, 1, 2, 3, 4]]] * 2
