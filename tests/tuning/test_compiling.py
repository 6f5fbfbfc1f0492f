"""Processes that only compile: what they compile is what the others launch, and they need no GPU for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gsa_dsl.runtime.loader import load_module
from gsa_dsl.tuning.launches import longest_first

EXAMPLES = Path(__file__).parents[2] / "examples"
CHILD = Path(__file__).with_name("compiling_child.py")


def compiled(role: str, name: str, folder: Path, part: int = 0, parts: int = 1) -> list[str]:
    command = [sys.executable, str(CHILD), role, str(EXAMPLES / f"{name}.gsa"), str(folder), str(part), str(parts)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
    return sorted(said.stdout.splitlines())


@pytest.mark.parametrize("name", ["gsa", "nsa_select", "sliding_sink"])
def test_what_is_compiled_ahead_is_what_is_launched(name: str, tmp_path: Path) -> None:
    """Types, constants, alignments and options alike: they make the key under which a kernel is found."""
    ahead = compiled("compiles", name, tmp_path)
    assert len(ahead) > 4
    assert ahead == compiled("launches", name, tmp_path)


def test_parts_are_all_of_it(tmp_path: Path) -> None:
    parts = [compiled("compiles", "nsa_select", tmp_path, part, 3) for part in range(3)]
    assert all(parts)
    assert sorted(line for part in parts for line in part) == compiled("compiles", "nsa_select", tmp_path)


def test_what_does_not_fit_the_gpu_is_told(tmp_path: Path) -> None:
    (said,) = compiled("exceeds", "sliding_sink", tmp_path)
    assert said.startswith("out of resources attend_fwd_kernel out of resource: shared memory, Required: ")


def test_kernels_come_by_the_length_of_what_they_are_made_of(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import triton\n"
        "@triton.jit\ndef helper(x):\n    return x + 1 + 1 + 1 + 1 + 1 + 1\n"
        "@triton.jit\ndef long_kernel(x):\n    x + 1 + 1 + 1 + 1 + 1 + 1 + 1\n"
        "@triton.jit\ndef short_kernel(x):\n    x\n"
        "@triton.jit\ndef calling_kernel(x):\n    helper(helper(x))\n"
        "LAUNCH = {'short_kernel': {}, 'long_kernel': {}, 'calling_kernel': {}}\n"
    )
    assert longest_first(load_module(path)) == ["calling_kernel", "long_kernel", "short_kernel"]
