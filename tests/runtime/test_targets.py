"""Every generated kernel compiles for four kinds of GPU, none of which need be there, and fits its shared memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from triton.runtime.jit import JITFunction

from gsa_dsl.compiler import generate
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.ir.plan import Grain, HeadShape
from gsa_dsl.options import KernelConfig
from gsa_dsl.passes.schedule import default_config, float32_fits
from gsa_dsl.runtime.loader import load_module, write_atomically
from gsa_dsl.runtime.targets import SHARED_LIMIT, TARGETS, KernelReport, compile_for
from tests.codegen.generated import EXAMPLES, PARAMS, example

# Compile time grows with the tiles; these still have whole matrix instructions.
SMALL = KernelConfig(
    tile=8, block_keys=32, backward_keys=32, score_rows=32, score_keys=32, strip=2, scan_keys=128, list_keys=64
)
ATTENTION = ("attend_fwd_kernel", "attend_bwd_query_kernel", "attend_bwd_key_kernel")
# gsa_small has gsa's kernels and gates, which are compiled below.
OTHER_EXAMPLES = [name for name in EXAMPLES if name != "gsa_small"]
MATRIX = {
    "sm_80": {"mma"},
    "sm_89": {"mma"},
    "sm_90": {"wgmma", "mma"},
    "sm_100": {"tcgen05", "mma"},
    "gfx942": {"mfma"},
}
# Up to ptxas a kernel is the same for sm_80, as a test below shows, and sm_80 has more memory for it.
BUILT_FOR = [target for target in TARGETS if target != "sm_80"]


def loaded(path: Path) -> ModuleType:
    """A module whose kernels have the keys of equal ones in others, wherever in the file they stand."""
    module = load_module(path)
    functions = [value for value in vars(module).values() if isinstance(value, JITFunction)]
    for function in functions:
        function.starting_line_number, function.hash = 1, None  # the hash is of the line too
    for function in functions:
        assert function.cache_key  # computed anew, in the order in which loading does
    return module


def reports(
    folder: Path, name: str, target: str, shape: tuple[int, int, int], config: KernelConfig | None
) -> list[KernelReport]:
    """Compile every kernel of an example for ``target`` in bfloat16."""
    path = folder / f"{name}.py"
    write_atomically(path, generate(example(name), PARAMS[name], shape, config, "triton"))
    return list(compile_for(loaded(path), target))


@pytest.fixture(autouse=True)
def own_triton_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing an earlier run compiled answers for this one; a kernel that several examples have is compiled once."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    monkeypatch.setenv("TRITON_CACHE_DIR", str(folder / "triton"))


@pytest.mark.slow
@pytest.mark.parametrize("target", BUILT_FOR)
@pytest.mark.parametrize("name", OTHER_EXAMPLES)
def test_every_kernel_compiles_and_fits(name: str, target: str, tmp_path: Path) -> None:
    found = reports(tmp_path, name, target, (8, 2, 64), SMALL)
    assert len({(report.kernel, report.variant) for report in found}) == len(found)
    assert not [report for report in found if not report.fits]
    assert all(report.target == target for report in found)
    kernels = {report.kernel for report in found}
    assert set(ATTENTION) <= kernels
    assert ("indexer_loss_kernel" in kernels) is ("train indexer" in example(name).text)
    for report in found:
        if report.kernel in ATTENTION:
            assert report.matrix, f"{report.kernel} has no matrix instruction"
            assert set(report.matrix) <= MATRIX[target]


@pytest.mark.slow
def test_sm_80_is_compiled_for_as_sm_89_is(tmp_path: Path) -> None:
    """Of every example each kernel's LLVM code is the same for both; one with many kernels, soon compiled, shows it."""
    older, newer = (reports(tmp_path, "dsa", target, (8, 2, 64), SMALL) for target in ("sm_80", "sm_89"))
    assert len({report.kernel for report in older}) == 10
    assert all(report.fits for report in older)
    assert [replace(report, target="", registers=0, spilled=0) for report in older] == [
        replace(report, target="", registers=0, spilled=0) for report in newer
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsa", "dense"])
def test_at_full_size_hopper_uses_its_wide_matrix_instruction(name: str, tmp_path: Path) -> None:
    found = reports(tmp_path, name, "sm_90", (64, 4, 128), None)
    assert not [report for report in found if not report.fits]
    attention = [report for report in found if report.kernel in ATTENTION]
    assert {report.kernel for report in attention} == set(ATTENTION)
    for report in attention:
        assert "wgmma" in report.matrix, f"{report.kernel}({report.variant}) has {report.matrix}"
    variants = {report.variant for report in attention if report.kernel == "attend_fwd_kernel"}
    assert len(variants) == (4 if name == "gsa" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_80", "sm_100", "gfx942"])
def test_the_default_tiles_fit_elsewhere_too(target: str, tmp_path: Path) -> None:
    assert not [report for report in reports(tmp_path, "dense", target, (64, 4, 128), None) if not report.fits]


GATED = """attention gated {
  causal
  gate query  = 2 * sigmoid(linear(x)) per head
  gate key    = sigmoid(linear(x) + given(mask)) per shared
  gate value  = tanh(linear(x)) per element
  gate output = sigmoid(linear(x)) per shared
  always first 4, last 128
}"""


@pytest.mark.slow
@pytest.mark.parametrize("target", BUILT_FOR)
def test_gates_and_wide_values_compile_and_fit(target: str, tmp_path: Path) -> None:
    path = tmp_path / "gated.py"
    write_atomically(path, generate(Source("gated.gsa", GATED), {}, (8, 2, 192, 128), None, "triton"))
    found = list(compile_for(load_module(path), target))
    gates = {f"{gate}_gate_{way}_kernel" for gate in ("query", "key", "value") for way in ("fwd", "bwd")}
    assert gates <= {report.kernel for report in found}
    assert not [report for report in found if not report.fits]


WIDE = [
    ((64, 1, 256), "sm_80", None),
    ((64, 1, 128), "sm_90", None),
    ((64, 1, 128), "gfx942", None),
    ((6, 1, 96), "sm_100", None),
    ((16, 1, 192, 128), "sm_80", None),
    ((64, 1, 128), "sm_90", 4),
    ((16, 1, 80), "sm_80", 4),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "target", "itemsize"), WIDE, ids=str)
def test_default_tiles_fit_wide_groups_and_heads(
    shape: tuple[int, ...], target: str, itemsize: int | None, tmp_path: Path
) -> None:
    config = None if itemsize is None else default_config(HeadShape(*shape), None, itemsize)
    path = tmp_path / "dense.py"
    write_atomically(path, generate(example("dense"), {}, shape, config, "triton"))
    found = list(compile_for(load_module(path), target, "bf16" if itemsize is None else "fp32"))
    assert not [report for report in found if not report.fits]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32, 8, 128), (16, 2, 64), (64, 4, 128)], ids=str)
def test_scores_of_pooled_keys_fit(shape: tuple[int, int, int], tmp_path: Path) -> None:
    # In float32: the queries of all heads at once would not.
    path = tmp_path / "moba.py"
    write_atomically(path, generate(example("moba"), {}, shape, None, "triton"))
    (found,) = compile_for(load_module(path), "sm_90", kernels={"score_kernel"})
    assert found.fits


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("gsa", (64, 1, 128)), ("dense", (64, 1, 256))], ids=str)
def test_float32_is_refused_where_it_would_not_fit(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    listed = name == "gsa"
    config = default_config(HeadShape(*shape), Grain() if listed else None, itemsize=4)
    path = tmp_path / f"{name}.py"
    write_atomically(path, generate(example(name), PARAMS[name], shape, config, "triton"))
    module = load_module(path)
    assert module.META["float32"] is False
    kernel = "attend_bwd_query_kernel"
    assert not any(report.fits for report in compile_for(module, "sm_90", "fp32", kernels=[kernel], heaviest=True))
    assert float32_fits(HeadShape(shape[0] // 4, *shape[1:]), listed=listed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((6, 1, 80), "bf16"), ((4, 4, 16), "fp16"), ((2, 2, 32), "fp32"), ((3, 3, 33), "bf16")],
    ids=str,
)
def test_other_shapes_and_types_compile(shape: tuple[int, int, int], dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "gated.py"
    write_atomically(path, generate(example("gated"), {}, shape, None, "triton"))
    found = list(compile_for(load_module(path), "sm_90", dtype))
    assert {report.kernel for report in found} >= set(ATTENTION)
    assert all(report.fits for report in found)


@pytest.mark.parametrize("target", TARGETS)
def test_a_report_knows_its_limit(target: str) -> None:
    assert SHARED_LIMIT[target] % 1024 == 0
    fitting = KernelReport("k", "", target, SHARED_LIMIT[target], ())
    assert fitting.fits
    assert not KernelReport("k", "", target, SHARED_LIMIT[target] + 1, ()).fits


def test_a_kernel_that_does_not_compile_is_an_error(tmp_path: Path) -> None:
    from triton.compiler.errors import CompilationError

    path = tmp_path / "broken.py"
    path.write_text(
        "import triton\nimport triton.language as tl\n\n"
        "LAUNCH = {'broken_kernel': {'num_warps': 4, 'num_stages': 1}}\n\n"
        "@triton.jit\ndef broken_kernel(q_ptr, length):\n    tl.store(q_ptr, tl.arange(0, 3))\n",
        encoding="utf-8",
    )
    with pytest.raises(CompilationError, match="power of 2"):
        list(compile_for(load_module(path), "sm_90"))


@pytest.mark.parametrize(("capability", "own"), [(9, False), (10, True), (12, True)])
def test_blackwell_is_launched_with_options_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: int, own: bool
) -> None:
    path = tmp_path / "dense.py"
    write_atomically(path, generate(example("dense"), PARAMS["dense"], (8, 2, 64), SMALL, "triton"))
    module: Any = load_module(path)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))
    options = module.LAUNCH | module.LAUNCH_BLACKWELL if own else module.LAUNCH
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert module.LAUNCH["attend_bwd_key_kernel"] != module.LAUNCH_BLACKWELL["attend_bwd_key_kernel"]
    for kernel in ("attend_fwd_kernel", "attend_bwd_key_kernel"):
        assert module.launch(kernel, on_gpu) == options[kernel]


def test_amd_is_launched_without_a_third_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dense.py"
    write_atomically(path, generate(example("dense"), PARAMS["dense"], (8, 2, 64), None, "triton"))
    module: Any = load_module(path)
    monkeypatch.setattr(torch.version, "cuda", None)
    on_gpu, on_cpu = (SimpleNamespace(device=torch.device(name)) for name in ("cuda", "cpu"))
    assert module.launch("attend_bwd_query_kernel", on_gpu)["num_stages"] == 2
    assert module.launch("attend_bwd_query_kernel", on_cpu)["num_stages"] == 3
    assert module.launch("attend_fwd_kernel", on_gpu) == module.LAUNCH["attend_fwd_kernel"]
