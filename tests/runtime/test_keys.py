"""Kernels have the same key in every process, so that what one compiled another finds."""

import subprocess
import sys
from pathlib import Path

import pytest

from gsa_dsl.compiler import generate
from gsa_dsl.diagnostics.span import Source

EXAMPLES = Path(__file__).parents[2] / "examples"
SAY_KEYS = """
import sys
from pathlib import Path
from triton.runtime.jit import JITCallable
from gsa_dsl.runtime.loader import load_module

first, path, order = sys.argv[1:]
if first:
    load_module(Path(first))  # what was loaded before must not matter either
module = load_module(Path(path))
kernels = [(name, x) for name, x in vars(module).items() if isinstance(x, JITCallable)]
keys = {name: kernel.cache_key for name, kernel in kernels[:: int(order)]}
print(*sorted(keys.items()), sep="\\n")
"""


@pytest.mark.parametrize("name", ["gsa", "nsa_select"])
def test_keys_do_not_depend_on_what_is_launched_or_loaded_first(name: str, tmp_path: Path) -> None:
    """Triton's own keys do: globals of a called function count only if its key was asked for before."""
    paths = {spec: tmp_path / f"{spec}.py" for spec in (name, "sliding_sink")}
    for spec, path in paths.items():
        source = Source(spec, (EXAMPLES / f"{spec}.gsa").read_text())
        path.write_text(generate(source, {}, (8, 2, 64), None, "triton"))

    def keys(first: str, order: int) -> str:
        command = [sys.executable, "-c", SAY_KEYS, first, str(paths[name]), str(order)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    said = keys("", 1)
    assert said.count("_kernel") > 3
    assert keys("", -1) == said
    assert keys(str(paths["sliding_sink"]), -1) == said
