"""A copy of a generated file, somewhere without gsa_dsl, does what the compiled attention does."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import gsa_dsl
from gsa_dsl.testing.inputs import make_inputs
from tests.codegen.generated import PARAMS, ROOT, SMALL_TILES

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16
SCRIPT = """
import sys
sys.modules["gsa_dsl"] = None  # whoever imports it fails
import torch, variant
x = torch.load("inputs.pt")
x["query"].requires_grad_()
operands = [x[name] for name in ("query", "key", "value", "gates", "index", "ema")]
documents = [] if x["documents"] is None else [x["documents"]]
result = variant.attention(*operands, "sparse", None, True, *documents)
torch.autograd.backward(result.output, x["cotangent"])
torch.save({"output": result.output.detach(), "lse": result.lse, "gradient": x["query"].grad}, "outputs.pt")
"""

# Triton 3.6's own interpreter takes loop bounds from arrays of one element, which numpy 2.4 stopped allowing.
SQUEEZED_BOUNDS = """
from triton.runtime import interpreter
patch = interpreter._patch_lang_tensor
def squeezed(tensor, *rest):
    patch(tensor, *rest)
    tensor.__index__ = lambda self: int(self.handle.data.item())
interpreter._patch_lang_tensor = squeezed
"""


def _numpy_refuses_loop_bounds() -> bool:
    triton, numpy = (tuple(map(int, version(name).split(".")[:2])) for name in ("triton", "numpy"))
    return triton <= (3, 6) and numpy >= (2, 4)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param("gsa", "torch", id="gsa-torch"),
        pytest.param("sliding_sink", "torch", id="sliding_sink-torch"),
        pytest.param("packed", "torch", id="packed-torch"),
        pytest.param("gsa", "interpret", id="gsa-triton"),
    ],
)
def test_a_copied_module_runs_without_the_compiler(name: str, backend: str, tmp_path: Path) -> None:
    compiled = gsa_dsl.compile(
        ROOT / "examples" / f"{name}.gsa",
        heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        backend=backend,
        config=SMALL_TILES,
        cache_dir=tmp_path / "cache",
        params=PARAMS[name],
    )
    x = make_inputs(compiled.spec, batch=2, length=21, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM)
    x.query.requires_grad_()
    output, aux = compiled(x.query, x.key, x.value, **x.keywords(), return_aux=True)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(output, cotangent)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "variant.py").write_text(compiled.source, encoding="utf-8")
    given = {"query": x.query.detach(), "key": x.key, "value": x.value, "gates": x.gates or {}, "index": x.index or {}}
    torch.save({**given, "ema": x.ema, "documents": x.documents, "cotangent": cotangent}, elsewhere / "inputs.pt")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if backend == "interpret":
        environment["TRITON_INTERPRET"] = "1"
    patched = backend == "interpret" and _numpy_refuses_loop_bounds()
    code = (SQUEEZED_BOUNDS if patched else "") + SCRIPT
    subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=environment, check=True, capture_output=True, timeout=300
    )
    again = torch.load(elsewhere / "outputs.pt")
    assert torch.equal(again["output"], output)
    assert torch.equal(again["lse"], aux.lse)
    assert torch.equal(again["gradient"], x.query.grad)
