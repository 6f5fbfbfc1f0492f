"""``compile`` and the object it returns: arguments, copies, pickles, what it can say of itself."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl import compiler
from gsa_dsl.options import KernelConfig
from tests.codegen.generated import ROOT

DENSE = ROOT / "examples" / "dense.gsa"


def compile_dense(tmp_path: Path, **changed: Any) -> gsa_dsl.CompiledAttention:
    return gsa_dsl.compile(DENSE, **({"heads": 2, "head_dim": 16, "backend": "torch", "cache_dir": tmp_path} | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": 0}, "heads must be a positive int, got 0"),
        ({"heads": True}, "heads must be a positive int, got True"),
        ({"heads": 2.0}, "heads must be a positive int, got 2.0"),
        ({"kv_heads": -1}, "kv_heads must be a positive int, got -1"),
        ({"head_dim": 0}, "head_dim must be a positive int, got 0"),
        ({"head_dim": 257}, "head_dim must be at most 256, got 257"),
        ({"heads": 6, "kv_heads": 4}, "heads must be a multiple of kv_heads, got heads=6, kv_heads=4"),
        ({"backend": "cuda"}, "backend must be one of auto, triton, interpret, torch, got 'cuda'"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_dense(tmp_path, **changed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"), [("tile", 3), ("tile", 64), ("block_keys", 0), ("scan_keys", 48), ("workspace_mib", 0)]
)
def test_tiles_that_make_no_sense(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"config.{field} must be .*{value}"):
        KernelConfig(**{field: value})


def test_triton_without_a_gpu_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"needs a CUDA device .* use 'torch', or 'interpret' to debug"):
        compile_dense(tmp_path, backend="triton")


def test_auto_says_once_what_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compiler._auto.cache_clear()
    try:
        with caplog.at_level(logging.INFO, logger="gsa_dsl"):
            assert compile_dense(tmp_path, backend="auto").backend == "torch"
            assert compile_dense(tmp_path, backend="auto").backend == "torch"
    finally:
        compiler._auto.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "gsa_dsl: backend 'auto' is 'torch' here (no CUDA device)"
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gsa"):
        gsa_dsl.compile("nowhere.gsa", heads=2, head_dim=16, backend="torch", cache_dir=tmp_path)


def test_a_misspelt_parameter_is_a_spec_error(tmp_path: Path) -> None:
    with pytest.raises(gsa_dsl.SpecError, match="k_bsae"):
        gsa_dsl.compile(
            ROOT / "examples" / "gsa.gsa", heads=2, head_dim=16, backend="torch", cache_dir=tmp_path, k_bsae=3
        )


def operands() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn((1, 2, 9, 16), generator=generator) for _ in range(3))


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_copies_and_pickles_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "cache"))
    original = compile_dense(tmp_path, backend=backend, cache_dir=None)
    for other in (copy.copy(original), copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert isinstance(other, gsa_dsl.CompiledAttention)
        assert other.path == original.path
        assert other.backend == backend
        assert torch.equal(other(*operands()), original(*operands()))


def test_a_pickle_carries_the_spec_to_a_machine_without_the_file(tmp_path: Path) -> None:
    spec = tmp_path / "mine.gsa"
    spec.write_text(
        "attention mine(window = 4) { causal\n gate output = sigmoid(linear(x)) per head\n always last window }",
        "utf-8",
    )
    original = gsa_dsl.compile(
        spec, heads=2, head_dim=16, backend="torch", cache_dir=tmp_path / "cache", config=KernelConfig(tile=4), window=3
    )
    spec.unlink()
    (tmp_path / "pickle").write_bytes(pickle.dumps(original))
    code = (
        "import pickle, sys, torch; again = pickle.load(open(sys.argv[1], 'rb'));"
        "x = torch.ones(1, 2, 5, 16); out = again(x, x, x, gates={'output': torch.zeros(1, 2, 5)});"
        "print(again.spec.params, again.recipe['config'].tile, out.unique().tolist(), again.path)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pickle")],
        env={**os.environ, "GSA_DSL_CACHE_DIR": str(tmp_path / "there")},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout.startswith("(('window', 3),) 4 [0.5] ")
    assert str(tmp_path / "there") in result.stdout


def test_what_a_compiled_attention_says_of_itself(tmp_path: Path) -> None:
    compiled = compile_dense(tmp_path, kv_heads=1)
    assert compiled.meta["name"] == "dense"
    assert (compiled.meta["heads"], compiled.meta["kv_heads"], compiled.meta["head_dim"]) == (2, 1, 16)
    assert compiled.spec.name == "dense"
    assert compiled.source == compiled.path.read_text(encoding="utf-8")
    assert compiled.kernels.META is compiled.meta
    assert "dense, heads=2, kv_heads=1, head_dim=16, backend='torch'" in repr(compiled)
    meta = compiled.meta
    shape = (meta["heads"], meta["kv_heads"], meta["head_dim"])
    assert compiled.cost(L=300) == compiled.cost().evaluate(300, *shape)
    assert compiled.cost(L=300, B=2)[-1].flops > compiled.cost(L=300)[-1].flops > 0


def test_the_cache_folder_goes_with_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in the same process does not fall back to the user's own cache folder."""
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "default"))
    original = compile_dense(tmp_path / "chosen")
    assert copy.deepcopy(original).path == original.path
    assert not (tmp_path / "default").exists()
