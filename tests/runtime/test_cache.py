"""Generated modules in the cache: written once, whole, found again, and stale when anything they depend on changes."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gsa_dsl
from gsa_dsl.compiler import generate
from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime import loader
from tests.codegen.generated import PARAMS, ROOT, SHAPE, example

GSA = ROOT / "examples" / "gsa.gsa"
Compile = Callable[..., gsa_dsl.CompiledAttention]


@pytest.fixture
def compile_gsa(tmp_path: Path) -> Compile:
    """``compile_gsa(...)`` with small defaults that each argument overrides."""

    def make(spec: Any = GSA, **changed: Any) -> gsa_dsl.CompiledAttention:
        defaults = {"heads": 4, "kv_heads": 2, "head_dim": 16, "backend": "torch", "cache_dir": tmp_path}
        return gsa_dsl.compile(spec, **(defaults | changed))

    return make


def files(folder: Path) -> dict[Path, int]:
    """Every file below ``folder`` but Python's own bytecode, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if "__pycache__" not in path.parts}


def test_a_second_compile_writes_nothing_and_gives_the_same_file(compile_gsa: Compile, tmp_path: Path) -> None:
    first = compile_gsa()
    before = files(tmp_path)
    assert set(before) == {first.path}
    second = compile_gsa()
    assert second.path == first.path
    assert second.source == first.source
    assert files(tmp_path) == before


CACHED = """
import sys
import torch, torch.utils.checkpoint
import gsa_dsl
before = set(sys.modules)
gsa_dsl.compile({spec!r}, heads=4, kv_heads=2, head_dim=16, backend={backend!r}, cache_dir={cache!r})
print(*(name.split(".")[0] for name in set(sys.modules) - before))
"""


@pytest.mark.parametrize("backend", ["torch", "interpret"])
def test_a_compile_from_the_cache_loads_no_compiler(backend: str, tmp_path: Path) -> None:
    code = CACHED.format(spec=str(GSA), backend=backend, cache=str(tmp_path))

    def loaded() -> set[str]:
        run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
        return set(run.stdout.split())

    compiler = {"lark", "jinja2"}
    first = loaded()
    assert first & compiler == compiler  # the first compile needs them: the test can see them
    assert "sympy" not in first  # its import takes longer than all of the compilation
    assert not loaded() & compiler


TIMED = """
import time
import torch, triton.runtime.interpreter
# How fast the machine is, which is told by work that never changes.
start = time.process_time()
sum(i * i for i in range(300_000))
loop = time.process_time() - start
start = time.process_time()
import gsa_dsl
gsa_dsl.compile({spec!r}, heads=64, kv_heads=4, head_dim=128, backend="interpret", cache_dir={cache!r})
print(time.process_time() - start, loop)
"""


def test_a_fresh_process_has_its_attention_at_once(tmp_path: Path) -> None:
    """From a spec to a loaded module in 1 s, from the cache in 20 to 30 ms, with room for a slow machine.

    From the cache that is 3.6 times what a loop takes: 16 ms where a load takes 42.
    """

    def seconds() -> tuple[float, float]:
        code = TIMED.format(spec=str(GSA), cache=str(tmp_path))
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        took, loop = map(float, out.split())
        return took, took / loop

    def best_of_five(before: Callable[[], object], limit: float, in_loops: bool) -> float:
        found = float("inf")
        for _ in range(5):
            before()
            found = min(found, seconds()[in_loops])
            if found < limit:
                break  # on a busy machine the least disturbed run tells
        return found

    seconds()  # a first run writes bytecode
    assert best_of_five(lambda: shutil.rmtree(tmp_path), 1.0, in_loops=False) < 1.5
    assert best_of_five(lambda: None, 2.0, in_loops=True) < 3.6


def test_a_compile_from_the_cache_is_fast(compile_gsa: Compile) -> None:
    compile_gsa()
    assert median_seconds(compile_gsa) < 0.06


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_generating_is_fast(backend: str) -> None:
    def run() -> None:
        generate(example("gsa"), PARAMS["gsa"], SHAPE, None, backend)

    run()
    assert median_seconds(run, 3) < 1


def median_seconds(run: Callable[[], object], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@pytest.mark.parametrize(
    "changed",
    [
        {"heads": 8},
        {"kv_heads": 1},
        {"head_dim": 32},
        {"params": {"k_base": 100}},
        {"config": KernelConfig()},
        {"config": KernelConfig(tile=4)},
        {"name": "other"},
        {"backend": "interpret"},
        {"spec": example("gsa").text + "# a comment\n", "name": "gsa.gsa"},
    ],
    ids=str,
)
def test_whatever_the_text_depends_on_changes_the_file(compile_gsa: Compile, changed: dict[str, Any]) -> None:
    assert compile_gsa(**changed).path.name != compile_gsa().path.name


def test_the_same_compilation_said_otherwise_is_the_same_file(compile_gsa: Compile) -> None:
    given = compile_gsa(params={"k_base": 100, "k_max": 300})
    assert compile_gsa(k_max=300, k_base=100).path == given.path
    assert compile_gsa(example("gsa").text, name="gsa.gsa").path == compile_gsa().path
    assert compile_gsa(heads=4, kv_heads=4).path == compile_gsa(heads=4, kv_heads=None).path


def test_a_changed_compiler_changes_the_file(compile_gsa: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compile_gsa().path
    monkeypatch.setattr(loader, "compiler_fingerprint", lambda: "another")
    assert compile_gsa().path != before


def test_the_fingerprint_covers_package_and_templates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fingerprint = loader.compiler_fingerprint.__wrapped__
    before = fingerprint()
    assert fingerprint() == before
    template = tmp_path / "kernel.jinja"
    template.write_text("one", encoding="utf-8")
    monkeypatch.setattr(loader, "templates_dir", lambda: tmp_path)
    one = fingerprint()
    template.write_text("two", encoding="utf-8")
    two = fingerprint()
    assert len({before, one, two}) == 3


@pytest.mark.parametrize("name", ["gsa.gsa", "../../evil.gsa", "my spec (2).gsa", "<string>", "größe"])
def test_file_names_are_safe_and_say_the_spec(compile_gsa: Compile, tmp_path: Path, name: str) -> None:
    path = compile_gsa(example("gsa").text, name=name).path
    assert path.parent == tmp_path / "modules"
    assert path.stem.replace("_", "").isalnum()


def test_an_attention_of_another_name_under_one_file_name_is_another_file(compile_gsa: Compile) -> None:
    text = example("dense").text
    one, other = compile_gsa(text), compile_gsa(text.replace("attention dense", "attention dense2"))
    assert one.meta["name"] == "dense"
    assert other.meta["name"] == "dense2"
    assert one.path != other.path


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "modules" / "m.py"

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        loader.write_atomically(path, "x = 1\n")
    assert not files(tmp_path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.py"
    loader.write_atomically(path, "old\n")

    def interrupted(handle: int, *args: Any, **kwargs: Any) -> Any:
        os.close(handle)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fdopen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loader.write_atomically(path, "new\n")
    assert path.read_text(encoding="utf-8") == "old\n"
    assert set(files(tmp_path)) == {path}


def test_a_wrong_spec_leaves_the_cache_alone(compile_gsa: Compile, tmp_path: Path) -> None:
    with pytest.raises(gsa_dsl.SpecError):
        compile_gsa("attention a { causl }")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(
    compile_gsa: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file", encoding="utf-8")
    with pytest.raises(OSError, match=r"taken.*choose another folder with cache_dir= or \$GSA_DSL_CACHE_DIR"):
        compile_gsa(cache_dir=taken)

    def denied(**_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", denied)
    with pytest.raises(PermissionError, match=r"denied.modules \(Permission denied\); choose another folder"):
        compile_gsa(cache_dir=tmp_path / "denied")


def test_the_folder_is_the_argument_then_the_variable_then_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(loader.CACHE_VARIABLE, str(tmp_path / "variable"))
    assert loader.cache_folder(tmp_path / "argument") == tmp_path / "argument"
    assert loader.cache_folder() == tmp_path / "variable"
    monkeypatch.setenv(loader.CACHE_VARIABLE, "")
    assert loader.cache_folder().name == "gsa_dsl"
    monkeypatch.delenv(loader.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert loader.cache_folder() == tmp_path / "xdg" / "gsa_dsl"


def test_the_variable_is_honoured_by_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(loader.CACHE_VARIABLE, str(tmp_path / "here"))
    compiled = gsa_dsl.compile(GSA, heads=2, head_dim=16, backend="torch")
    assert compiled.path.is_relative_to(tmp_path / "here")


def test_a_process_loads_a_module_once_and_writes_it_again_when_it_is_gone(tmp_path: Path) -> None:
    def compiled() -> gsa_dsl.CompiledAttention:
        return gsa_dsl.compile("attention a { causal }", heads=1, head_dim=16, backend="torch", cache_dir=tmp_path)

    first = compiled()
    assert compiled().kernels is first.kernels
    first.path.unlink()
    assert compiled().kernels is first.kernels
    assert first.path.is_file()
