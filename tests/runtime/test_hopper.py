"""Attention over lists on Hopper, by warps of which some copy keys: what it computes, where it runs, that it fits."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
from torch import Tensor
from triton.compiler import compile

import gsa_dsl
from gsa_dsl.codegen.emit import emit_triton
from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime import targets
from gsa_dsl.runtime.loader import load_module, write_atomically
from gsa_dsl.runtime.targets import TARGETS, compile_for
from gsa_dsl.testing.bounds import CheckedAddresses
from gsa_dsl.testing.inputs import make_inputs
from gsa_dsl.tuning.launches import launches_replaced
from tests.codegen.generated import plan_of_example
from tests.runtime import jobs
from tests.runtime.agreement import agree
from tests.runtime.jobs import jobs_as_threads

SCORE = "indexer { heads 2  dim 16  keys shared  score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s]) }"
PLAIN = f"causal {SCORE} select top 140 tokens"
SPECS = {
    "one gate an element": (f"{PLAIN} gate output = sigmoid(linear(x)) per element", {}),
    "gates of two numbers": (f"{PLAIN} gate output = sigmoid(linear(x)) * given(m) per head", {}),
    "a choice a kv head": (f"causal {SCORE} select top 140 tokens per kv_head", {"heads": 32, "kv_heads": 2}),
    "forced keys": (f"causal {SCORE} select top 130 tokens always first 3, last 5", {}),
    "documents in a batch": (f"causal documents {SCORE} select top 120 tokens", {}),
    "a padded group": (PLAIN, {"heads": 24, "kv_heads": 2}),
    "never a query at a time": (PLAIN, {"gather": 100}),
    "128 features, three steps ahead": (PLAIN, {"head_dim": 128, "hopper": 3}),
}
TILES = KernelConfig(
    tile=8,
    block_keys=16,
    backward_keys=16,
    score_rows=32,
    score_keys=32,
    strip=4,
    scan_keys=128,
    list_keys=64,
    hopper=2,
)
Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    cache = tmp_path_factory.mktemp("cache")

    def make(text: str, heads: int = 16, kv_heads: int = 1, head_dim: int = 64, **changed: Any) -> Any:
        config = replace(TILES, **({"gather": 95} | changed))
        shape = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
        return gsa_dsl.compile(
            f"attention small {{ {text} }}", **shape, backend="interpret", config=config, cache_dir=cache
        )

    return make


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[gsa_dsl.CompiledAttention], Any]:
    """Fewer programs than tiles, so that each attends to several."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=5))

    def opened(attention: gsa_dsl.CompiledAttention) -> Any:
        monkeypatch.setattr(attention.kernels, "jobs_apart", lambda *operands: True)
        return jobs_as_threads(attention.kernels)

    return opened


@pytest.mark.parametrize("name", SPECS)
def test_it_computes_what_the_reference_says(name: str, compiled: Compile, threads: Any) -> None:
    text, changed = SPECS[name]
    attention = compiled(text, **changed)
    shape = {key: attention.meta[key] for key in ("heads", "kv_heads", "head_dim")}
    x = make_inputs(attention.spec, batch=1, length=171, seed=5, **shape)
    with threads(attention) as kernel, CheckedAddresses():
        output, aux = attention(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    assert kernel.launches
    exact = attention.reference(x.query, x.key, x.value, **x.keywords())
    assert torch.equal(aux.selection.mask(), exact.selected)
    torch.testing.assert_close(output.double(), exact.output, rtol=0, atol=2e-5)
    torch.testing.assert_close(aux.lse.double(), exact.lse, rtol=0, atol=2e-5)


def test_a_training_step_agrees(compiled: Compile, threads: Any) -> None:
    """The output before its gate is kept too."""
    attention = compiled(f"{PLAIN} gate output = sigmoid(linear(x)) per element train indexer with kl")
    x = make_inputs(attention.spec, batch=1, length=150, seed=6, heads=16, kv_heads=1, head_dim=64)
    with threads(attention) as kernel:
        agree(attention, x)
    assert kernel.launches == 1


@pytest.mark.parametrize(("copying", "multiplying"), [(0.02, 0.0), (0.0, 0.05)])
def test_long_lists(
    copying: float, multiplying: float, compiled: Compile, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More steps than are ever ahead, copies or products slow: nothing is used before it is there, nor after."""
    monkeypatch.setattr(jobs, "COPYING", copying)
    monkeypatch.setattr(jobs, "MULTIPLYING", multiplying)
    attention = compiled(PLAIN)
    module, chance = attention.kernels, torch.Generator().manual_seed(1)
    query = torch.randn(1, 16, 24, 64, generator=chance)
    key, value = (torch.randn(1, 1, 700, 64, generator=chance) for _ in range(2))
    count = torch.tensor([[600, 513, 300]], dtype=torch.int32)
    common = torch.tensor([[300, 0, 290]], dtype=torch.int32)
    pos = torch.stack([torch.randperm(700, generator=chance)[:640] for _ in range(3)])[None].int()
    word = torch.randint(0, 255, (1, 3, 640), generator=chance)
    place = torch.arange(640)
    word = torch.where(place < common[..., None], 255, word) * (place < count[..., None])
    word[:, 1] &= ~8  # nor does every query see a key
    lists = module.Lists(pos, word.to(torch.uint8), count, common, torch.full_like(count, -1))
    out, lse = torch.empty_like(query), torch.empty(1, 16, 24)
    with threads(attention), CheckedAddresses():
        module.attend_forward(query, key, value, out, lse, lists)
    sees = torch.zeros(24, 700, dtype=torch.bool)
    for t in range(24):
        sees[t, pos[0, t // 8].long()] = word[0, t // 8] >> t % 8 & 1 == 1
    logits = (query[0].double() @ key[0].double().transpose(1, 2) / 8).masked_fill(~sees, float("-inf"))
    exact = logits.softmax(-1).nan_to_num() @ value[0].double()
    torch.testing.assert_close(out[0].double(), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(lse[0].double(), logits.logsumexp(-1), rtol=0, atol=1e-5)


REFUSED = {
    "no tokens are chosen": ("causal always last 64", {}),
    "its logits are more than scaled products": (f"{PLAIN} logit[t, s] = q[t] . k[s] - slope[h] * distance", {}),
    "heads must have 64 or 128 features, of keys and of values, not 32 and 32": (PLAIN, {"head_dim": 32}),
    "tile times query heads per kv head must be 128, not 64": (PLAIN, {"heads": 8}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_configuration_is_refused_where_there_is_no_such_kernel(why: str, compiled: Compile) -> None:
    text, changed = REFUSED[why]
    with pytest.raises(ValueError, match=re.escape(f"config.hopper must be 0 here: {why}")):
        compiled(text, **changed)


def test_steps_ahead_are_two_to_four() -> None:
    with pytest.raises(ValueError, match=r"config\.hopper must be 0, or steps ahead, 2 to 4, got 1"):
        KernelConfig(hopper=1)


def module_of(name: str, folder: Path, shape: tuple[int, ...] = (32, 2, 64), hopper: int = 2) -> Any:
    config = replace(plan_of_example(name, shape).config, hopper=hopper)
    path = folder / f"{name}.py"
    write_atomically(path, emit_triton(plan_of_example(name, shape, config)))
    return load_module(path)


@pytest.mark.parametrize("target", TARGETS)
def test_only_hopper_has_it(target: str, tmp_path: Path) -> None:
    module = module_of("gsa", tmp_path)
    found = list(compile_for(module, target, kernels=["attend_hopper_kernel"]))
    assert [report.variant for report in found] == (["SAVE_RAW=False", "SAVE_RAW=True"] if target == "sm_90" else [])
    assert all(report.fits and report.matrix == ("wgmma",) for report in found)


def test_products_are_in_flight_together_at_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The assembler waits for every part of a product by itself where registers do not suffice."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    made = []
    monkeypatch.setattr(
        targets, "triton_compile", lambda *args, **options: made.append(compile(*args, **options)) or made[-1]
    )
    module = module_of("dsa", tmp_path, (64, 4, 128), 3)
    (report,) = compile_for(module, "sm_90", kernels=["attend_hopper_kernel"])
    assert report.fits
    code = tmp_path / "kernel.cubin"
    code.write_bytes(made[0].asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    said = subprocess.run([str(tool), "-c", str(code)], capture_output=True, text=True, check=True).stdout
    # Eight parts a product, two of which are in flight.
    assert 0 < 8 * said.count("WARPGROUP.DEPBAR") <= said.count("HGMMA")


def launched(module: Any, *operands: Tensor) -> list[str]:
    """The kernels that attend to lists of nothing."""
    query = operands[0]
    names: list[str] = []
    tiles = query.shape[2] // 8
    numbers = torch.empty((1, tiles), dtype=torch.int32, device="meta")
    pos = torch.empty((1, tiles, 128), dtype=torch.int32, device="meta")
    lists = module.Lists(pos, pos.to(torch.uint8), numbers, numbers, numbers)
    with launches_replaced(module, lambda name, *_: names.append(name)):
        module.attend_forward(*operands, query, query, query[..., 0], query, lists)
    return names


@pytest.mark.parametrize(
    ("capability", "changed", "taken"),
    [
        ((9, 0), {}, "attend_hopper_kernel"),
        ((9, 0), {"dtype": torch.float16}, "attend_hopper_kernel"),
        ((9, 0), {"dtype": torch.float32}, "attend_fwd_kernel"),
        ((9, 0), {"width": 72}, "attend_fwd_kernel"),  # rows 144 bytes apart, in steps of which Triton knows nothing
        ((8, 0), {}, "attend_fwd_kernel"),
        ((10, 0), {}, "attend_fwd_kernel"),
    ],
)
def test_it_is_launched_where_it_can_be(
    capability: tuple[int, int],
    changed: dict[str, Any],
    taken: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=132))
    options = {"dtype": changed.get("dtype", torch.bfloat16), "device": "meta"}
    query, key, value = (torch.empty((1, n, 64, changed.get("width", 64)), **options)[..., :64] for n in (32, 2, 2))
    assert launched(module_of("gsa", tmp_path), query, key, value)[0] == taken
