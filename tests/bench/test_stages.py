"""Every kernel that is ever generated has a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsa_dsl.bench.stages import OTHER, STAGES, own_kernels, stage_of, stages
from gsa_dsl.compiler import generate
from gsa_dsl.frontend.library import bare_names, load
from tests.cli.running import ROOT

EVERY_GATE = """attention gates { causal
  gate query = sigmoid(linear(x)) per element  gate key = sigmoid(linear(x)) per head
  gate value = sigmoid(linear(x)) per element  gate output = sigmoid(linear(x)) per element
}"""


def launched(text: str) -> set[str]:
    """The kernels that a generated module launches: what its table of launches names, and its ``@triton.jit``s."""
    found: dict[str, object] = {}
    start = text.index("\nLAUNCH = {")
    exec(text[start : text.index("\n}\n", start) + 2], found)
    launch = found["LAUNCH"]
    assert isinstance(launch, dict)
    kernels = {line.split("def ")[1].split("(")[0] for line in text.split("\n") if line.startswith("def ")}
    assert set(launch) == {name for name in kernels if name.endswith("_kernel")}
    return set(launch)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.gsa")), ids=lambda path: path.stem)
def test_every_kernel_of_an_example_has_a_stage(path: Path) -> None:
    text = generate(bare_names(load(path)), {}, (64, 4, 128), None, "triton")
    assert {stage_of(name) for name in launched(text)} <= set(STAGES)


def test_every_kernel_of_a_gate_has_a_stage(tmp_path: Path) -> None:
    (tmp_path / "gates.gsa").write_text(EVERY_GATE)
    text = generate(bare_names(load(tmp_path / "gates.gsa")), {}, (8, 2, 64), None, "triton")
    assert {stage_of(name) for name in launched(text)} <= set(STAGES)


def test_no_kernel_is_in_two_stages() -> None:
    every = [kernel for kernels in STAGES.values() for kernel in kernels]
    assert len(every) == len(set(every))


def test_times_are_added_up_in_the_order_of_the_table() -> None:
    times = {"attend_fwd_kernel": 2.0, "guess_kernel": 0.5, "void at::copy": 0.25, "settle_kernel": 1.0, "memset": 0.5}
    own = own_kernels(times, ["attend_fwd_kernel", "guess_kernel", "settle_kernel", "list_kernel"])
    found = stages(own)
    assert list(found.items()) == [("thresholds", 1.5), ("attention", 2.0), (OTHER, 0.75)]
    assert own_kernels({}, ["attend_fwd_kernel"]) == {}


def test_a_kernel_without_a_stage_is_an_error() -> None:
    with pytest.raises(KeyError):
        stages({"new_kernel": 1.0})
