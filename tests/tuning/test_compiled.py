"""What a compiled attention does with tuned tile sizes: at most one more module a length bucket, and never a search."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl import compiler
from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning import key as keys
from gsa_dsl.tuning import tuner
from gsa_dsl.tuning.key import key_for, spec_digest
from gsa_dsl.tuning.store import Store
from tests.codegen.generated import ROOT
from tests.tuning.entries import H100, entry

SINKS = ROOT / "examples" / "sliding_sink.gsa"
SMALL = KernelConfig(tile=16, block_keys=16, backward_keys=16)
LARGE = KernelConfig(tile=32, block_keys=32, backward_keys=32)


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend 'triton' runs in the interpreter, on a machine that says it is an H100; a search is an error."""
    real = compiler.loader.load_module
    monkeypatch.setattr(compiler, "_backend", lambda backend: backend)
    monkeypatch.setattr(compiler.validate, "_dtype_and_device", lambda meta, backend, query: None)
    monkeypatch.setattr(compiler.loader, "load_module", lambda path, *, interpret: real(path, interpret=True))
    monkeypatch.setattr(keys, "machine", lambda device=None: H100)

    def search(*_: object, **__: object) -> None:
        raise AssertionError("a search that nobody asked for")

    monkeypatch.setattr(tuner, "tune", search)


def compile_sinks(tmp_path: Path, **changed: Any) -> gsa_dsl.CompiledAttention:
    given: dict[str, Any] = {"heads": 1, "head_dim": 16, "backend": "triton", "cache_dir": tmp_path}
    return gsa_dsl.compile(SINKS, params={"window": 8, "sinks": 2}, **(given | changed))


def put(tmp_path: Path, length: int, config: KernelConfig, dtype: str = "bfloat16") -> None:
    """Store a configuration for the attention that ``compile_sinks`` makes."""
    digest = spec_digest(SINKS.read_text(encoding="utf-8"), {"window": 8, "sinks": 2})
    key = key_for(digest, (1, 1, 16), dtype, length, None, H100)
    Store.of_user(tmp_path).put([entry(key, config=config, overlap=None)])


def call(attention: gsa_dsl.CompiledAttention, length: int, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(length)
    query, key, value = (torch.randn(1, 1, length, 16, generator=generator) for _ in range(3))
    return attention(query, key, value, **options)


@pytest.mark.usefixtures("like_a_gpu")
def test_two_hundred_lengths_make_one_module_a_bucket_and_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = [1 << n for n in range(4, 14)]
    for number, bucket in enumerate(buckets):
        put(tmp_path, bucket, KernelConfig(tile=16, scan_keys=1 << number))
    attention = compile_sinks(tmp_path)
    made: list[KernelConfig] = []
    build = compiler._build
    monkeypatch.setattr(compiler, "_build", lambda recipe, *rest: made.append(recipe["config"]) or build(recipe, *rest))
    looked_up: list[int] = []
    tuned = type(attention).tuned
    monkeypatch.setattr(type(attention), "tuned", lambda *a, **k: looked_up.append(a[1]) or tuned(*a, **k))
    lengths = [9 + 40 * n for n in range(200)]
    for length in lengths:
        used = attention._suited_to(torch.bfloat16, length, torch.device("cuda", 0))
        assert used.config.scan_keys == 1 << buckets.index(keys.length_bucket(length))
    assert len(looked_up) == 9
    assert len(made) == len({keys.length_bucket(length) for length in lengths}) == 9
    assert len(list((tmp_path / "modules").glob("*.py"))) == 1 + 9


@pytest.mark.usefixtures("like_a_gpu")
def test_equal_configurations_share_a_module(tmp_path: Path) -> None:
    for length in (16, 64, 256):
        put(tmp_path, length, SMALL)
    attention = compile_sinks(tmp_path)
    used = {id(attention._suited_to(torch.bfloat16, n, torch.device("cpu"))) for n in range(5, 256)}
    assert len(used) == 1
    assert len(list((tmp_path / "modules").glob("*.py"))) == 2


@pytest.mark.usefixtures("like_a_gpu")
def test_a_tuned_module_computes_the_same(tmp_path: Path) -> None:
    default = compile_sinks(tmp_path, tune="off")
    expected = {length: call(default, length) for length in (20, 50)}
    put(tmp_path, 32, SMALL, "float32")
    put(tmp_path, 1024, LARGE, "float32")
    attention = compile_sinks(tmp_path)
    for length, output in expected.items():
        torch.testing.assert_close(call(attention, length), output)
    assert {made.config for made in attention._suited.values()} == {SMALL}
    assert "config=tuned up to 32, 64 tokens" in repr(attention)


@pytest.mark.usefixtures("like_a_gpu")
def test_where_a_configuration_is_from_can_be_seen(tmp_path: Path) -> None:
    put(tmp_path, 64, SMALL)
    attention = compile_sinks(tmp_path)
    assert "config=default" in repr(attention)
    chosen = attention.tuned(50)
    assert chosen is not None
    assert chosen.config == SMALL
    assert chosen.origin.startswith("tuned at 64 tokens on NVIDIA H100 80GB HBM3, from ")
    used = attention._suited_to(torch.bfloat16, 50, torch.device("cpu"))
    assert "Tile sizes: tuned on NVIDIA H100 80GB HBM3.\n" in used.source.split('"""')[1]
    assert used.config == SMALL
    assert "Tile sizes" not in attention.source
    assert attention.tuned(50, dtype=torch.float16) is None
    assert attention.tuned(50_000) is None


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize(
    "changed", [{"tune": "off"}, {"config": LARGE}, {"backend": "torch"}, {"backend": "interpret"}], ids=str
)
def test_nothing_is_looked_up_where_it_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    put(tmp_path, 64, SMALL, "float32")
    attention = compile_sinks(tmp_path, **changed)
    monkeypatch.setattr(Store, "of_user", lambda *_: pytest.fail("the store was read"))
    assert attention.tuned(50, dtype=torch.float32) is None
    call(attention, 20)


@pytest.mark.usefixtures("like_a_gpu")
def test_float32_gets_smaller_tiles_where_nothing_is_tuned(tmp_path: Path) -> None:
    attention = compile_sinks(tmp_path, heads=8, kv_heads=1, head_dim=128)
    used = attention._suited_to(torch.float32, 100, torch.device("cpu"))
    assert used.config.block_keys < attention.config.block_keys
    assert attention._suited_to(torch.bfloat16, 100, torch.device("cpu")) is attention


def test_what_cannot_be_combined(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tune must be one of cached, now, off, got 'sometimes'"):
        compile_sinks(tmp_path, backend="torch", tune="sometimes")
    with pytest.raises(ValueError, match="tune='now' searches for what config= already says"):
        compile_sinks(tmp_path, backend="torch", tune="now", config=SMALL)
    with pytest.raises(ValueError, match=r"tuning chooses the tile sizes .*; here backend is 'torch'"):
        compile_sinks(tmp_path, backend="torch").tune()
    assert compile_sinks(tmp_path, backend="torch", tune="now").backend == "torch"


@pytest.mark.usefixtures("like_a_gpu")
def test_now_searches_and_a_copy_does_not_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(tuner, "tune", lambda subject, **options: asked.append((subject, options)))
    attention = compile_sinks(tmp_path, tune="now", tune_lengths=(100, 200))
    ((subject, options),) = asked
    assert (subject.shape, subject.dtype, options["lengths"]) == ((1, 1, 16), "bfloat16", (100, 200))
    assert options["store"] == Store.of_user(tmp_path)
    copies = (copy.deepcopy(attention), pickle.loads(pickle.dumps(attention)))
    assert all(one.path == attention.path for one in copies[:1])
    assert len(asked) == 1


@pytest.mark.usefixtures("like_a_gpu")
def test_tuning_is_used_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compile_sinks(tmp_path)
    device = torch.device("cpu")
    assert attention._suited_to(torch.bfloat16, 60, device) is attention
    monkeypatch.setattr(tuner, "tune", lambda *_, **__: put(tmp_path, 64, SMALL))
    attention.tune([64])
    assert attention._suited_to(torch.bfloat16, 60, device).config == SMALL


def test_an_origin_changes_the_header_alone(tmp_path: Path) -> None:
    attention = compile_sinks(tmp_path, backend="interpret")
    other = attention.with_config(replace(attention.config, strip=4), "tuned on a GPU")
    assert other.path != attention.path
    plain = [line for line in other.source.splitlines() if not line.startswith("Tile sizes")]
    assert plain == attention.source.splitlines()
    assert attention.with_config(attention.config) is attention
