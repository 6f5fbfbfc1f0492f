"""The interpreter for single modules, beside Triton's compiler in the same process."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter as triton_interpreter
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

import gsa_dsl
from gsa_dsl.runtime import interpreter
from gsa_dsl.runtime.interpreter import InterpretedKernel, interpreted_decorators, interpreted_launches
from gsa_dsl.runtime.loader import load_module
from gsa_dsl.runtime.targets import compile_for
from gsa_dsl.testing.inputs import make_inputs
from tests.codegen.generated import PARAMS, ROOT, SMALL_TILES

TWICE = """
import triton
import triton.language as tl

@triton.jit
def helper(x):
    return x * 2

@triton.jit
def twice_kernel(x_ptr, out_ptr, n):
    total = tl.zeros((), tl.float32)
    for i in range(0, n):
        total += tl.load(x_ptr + i)
    tl.store(out_ptr, helper(total) + tl.sum(tl.zeros((16,), tl.float32)))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "twice.py"
    file.write_text(TWICE, encoding="utf-8")
    return file


def patched_state() -> list[Any]:
    """Everything of triton that an interpreted launch replaces."""
    return [
        JITFunction.__call__,
        InterpretedFunction.__call__,
        triton_interpreter._patch_lang_tensor,
        triton_interpreter.interpreter_builder.options,
        triton.knobs.runtime.interpret,
        tl.load,
        tl.store,
        tl.sum,
        tl.tensor.__dict__.get("__index__"),
        tl.tensor.__add__,
        tl.core.dot,
    ]


def twice(module: Any, values: list[float]) -> float:
    out = torch.zeros(1)
    module.twice_kernel[(1,)](torch.tensor(values), out, len(values))
    return out.item()


def test_an_interpreted_module_runs_and_leaves_triton_as_it_was(path: Path) -> None:
    before = patched_state()
    module = load_module(path, interpret=True)
    assert patched_state() == before
    assert isinstance(module.twice_kernel, InterpretedKernel)
    assert twice(module, [1.0, 2.0, 3.0]) == 12.0
    assert patched_state() == before


def test_a_module_may_be_loaded_both_ways(path: Path) -> None:
    interpreted, normal = load_module(path, interpret=True), load_module(path)
    assert isinstance(normal.twice_kernel, JITFunction)
    assert twice(interpreted, [2.0]) == 4.0
    assert isinstance(load_module(path).twice_kernel, JITFunction)


def test_compiling_works_after_an_interpreted_launch(tmp_path: Path) -> None:
    """The same module first interpreted, then compiled for a GPU that is not there, then interpreted again."""
    compiled = gsa_dsl.compile(
        ROOT / "examples" / "gsa.gsa",
        heads=4,
        kv_heads=2,
        head_dim=16,
        backend="interpret",
        config=SMALL_TILES,
        cache_dir=tmp_path,
        params=PARAMS["gsa"],
    )
    x = make_inputs(compiled.spec, batch=1, length=11, heads=4, kv_heads=2, head_dim=16)
    first = compiled(x.query, x.key, x.value, **x.keywords())
    reports = list(islice(compile_for(load_module(compiled.path), "sm_90"), 3))
    assert {report.kernel for report in reports} >= {"score_kernel", "threshold_kernel"}
    assert torch.equal(compiled(x.query, x.key, x.value, **x.keywords()), first)


def test_an_exception_in_a_launch_restores_everything(path: Path) -> None:
    before = patched_state()
    module = load_module(path, interpret=True)
    with pytest.raises(TypeError):
        module.twice_kernel[(1,)](torch.zeros(1))
    with pytest.raises(Exception, match=r".") as caught:
        module.twice_kernel[(1,)](torch.zeros(1), None, 1)
    assert caught.value is not None
    assert patched_state() == before
    assert twice(module, [1.5]) == 3.0


def test_an_exception_in_a_nested_launch_restores_the_outer_one(path: Path) -> None:
    before = patched_state()
    module = load_module(path, interpret=True)

    class StopHereError(Exception):
        pass

    def fail() -> None:
        with interpreted_launches():
            raise StopHereError

    with interpreted_launches():
        outer = patched_state()
        with pytest.raises(StopHereError):
            fail()
        assert patched_state() == outer
        assert twice(module, [1.0]) == 2.0
        assert patched_state() == outer
    assert patched_state() == before


def test_a_failing_import_switches_the_decorators_back(tmp_path: Path) -> None:
    before = triton.knobs.runtime.interpret
    broken = tmp_path / "broken.py"
    broken.write_text("import triton\nraise RuntimeError('no')\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="no"):
        load_module(broken, interpret=True)
    assert triton.knobs.runtime.interpret is before
    with interpreted_decorators():
        assert triton.knobs.runtime.interpret is True
    assert triton.knobs.runtime.interpret is before


def test_threads_take_turns(path: Path) -> None:
    module = load_module(path, interpret=True)
    before = patched_state()
    results: dict[int, float] = {}

    def run(i: int) -> None:
        results[i] = twice(module, [float(i)] * 8)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {i: 16.0 * i for i in range(4)}
    assert patched_state() == before


def test_repeated_loads_do_not_pile_up(path: Path) -> None:
    """What is kept of interpreted functions is bounded by the functions there are, not by the launches."""
    module = load_module(path, interpret=True)
    twice(module, [1.0])
    kept = len(interpreter._KEPT)
    for _ in range(5):
        twice(module, [1.0])
    assert len(interpreter._KEPT) == kept
