"""Rows from inputs to rivals, on the CPU with times that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from triton.runtime.errors import OutOfResources

import gsa_dsl
from gsa_dsl.bench import rivals as rivals_module
from gsa_dsl.bench import run as run_module
from gsa_dsl.bench.check import WrongResult
from gsa_dsl.bench.floors import setting_of
from gsa_dsl.bench.records import Record
from gsa_dsl.bench.run import Bench, Options
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.testing.tiles import small_tiles
from tests.bench.fakes import MACHINE, SETTING, FakeGauge
from tests.bench.specs import PARAMS, SHARED, compiled
from tests.cli.running import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
CPU = torch.device("cpu")
QUICK = Options(lengths=(48,), overlaps=(0.0,), forward_only=True, rivals=(), dtype=torch.float32)


def options(**changed: Any) -> Options:
    return Options(**{name: getattr(QUICK, name) for name in Options.__slots__} | changed)


def bench(of: Options = QUICK, gauge: FakeGauge | None = None, told: list[str] | None = None) -> Bench:
    return Bench(SETTING, gauge or FakeGauge(), of, CPU, (told if told is not None else []).append)


def rows(spec: str | CompiledAttention, of: Options = QUICK, **more: Any) -> list[Record]:
    return list(bench(of, **more).records(compiled(spec) if isinstance(spec, str) else spec))


def test_a_row_has_everything() -> None:
    told: list[str] = []
    gauge = FakeGauge(ms=4.0)
    (row,) = rows("gsa", options(forward_only=False, command="gsa bench gsa.gsa"), gauge=gauge, told=told)
    assert row.failure is None
    assert (row.case.spec, row.case.length, row.case.overlap) == ("gsa", 48, 0.0)
    assert row.case.params == {"k_base": 64, "k_min": 16, "k_max": 128}
    assert row.checked is not None
    assert (row.checked.rows, row.checked.gradients_at) == (16, 48)
    assert {phase: timed.ms for phase, timed in row.times.items()} == {"forward": 4.0, "training": 4.0}
    assert set(row.work) == {"forward", "training"}
    assert row.work["training"].flops > row.work["forward"].flops
    assert row.kernels == {phase: {"other": 1.0} for phase in ("forward", "training")}  # eager torch has none of ours
    assert row.overlap is not None
    assert 0 < row.overlap <= 1
    assert 0 < row.keys <= 24.5
    assert (row.shared, row.command, row.setting) == (1, "gsa bench gsa.gsa", SETTING)
    assert told[0] == "gsa at 48 tokens, overlap 0: inputs"
    assert Record.from_line(row.to_line()) == row


@pytest.mark.parametrize("spec", ["gsa", "msa"])
def test_kernels_have_their_stages(spec: str, tmp_path: Path) -> None:
    """Generated kernels, interpreted: their lists are read as those of eager torch are."""
    attention = gsa_dsl.compile(
        ROOT / "examples" / f"{spec}.gsa",
        heads=4,
        kv_heads=2,
        head_dim=16,
        backend="interpret",
        params=PARAMS[spec] | ({"k_base": 8, "k_min": 4, "k_max": 12} if spec == "gsa" else {}),
        config=small_tiles(4, 2),
        cache_dir=tmp_path,
    )
    (row,) = rows(attention, options(lengths=(34,)))
    assert row.failure is None
    assert row.kernels == {"forward": {"attend_fwd_kernel": 0.75, "other": 0.25}}
    assert row.overlap is not None
    assert 0 < row.overlap <= 1
    (eager,) = rows(spec, options(lengths=(34,)))
    assert eager.work["forward"].bytes == row.work["forward"].bytes


def test_every_overlap_is_a_row_and_inputs_have_it() -> None:
    found = rows("sparse_only", options(lengths=(256,), overlaps=(0.0, 0.8)))
    assert [row.case.overlap for row in found] == [0.0, 0.8]
    low, high = (row.overlap for row in found)
    assert low is not None
    assert high is not None
    assert low < 0.6 < high


@pytest.mark.parametrize(("spec", "shared"), [("dense", 1), ("sliding_sink", 1), (SHARED, 16)], ids=["", "", "shared"])
def test_overlap_is_one_row_where_inputs_do_not_decide_it(spec: str, shared: int) -> None:
    (row,) = rows(spec, options(overlaps=(0.0, 0.8, 0.93)))
    assert (row.case.overlap, row.overlap, row.shared) == (None, None, shared)


def test_rivals_say_what_they_compute_or_why_not() -> None:
    (row,) = rows("gsa", options(rivals=("flash", "cudnn", "flex")))
    flash, cudnn, flex = row.rivals
    assert (flash.name, flash.function, flash.why) == ("SDPA flash", "dense causal", None)
    assert set(flash.times) == {"forward"}
    assert cudnn.why is not None
    assert "RuntimeError" in cudnn.why
    assert (cudnn.times, cudnn.work) == ({}, {})
    assert (flex.name, flex.function, flex.why) == ("FlexAttention", "dense causal", None)
    pairs = 48 * 49 // 2
    assert flash.work["forward"].flops == pairs * 2 * 4 * 32 == flex.work["forward"].flops


def test_a_rival_without_a_backward_pass_keeps_its_forward_time() -> None:
    (row,) = rows("sliding_sink", options(rivals=("flex",), forward_only=False))
    (flex,) = row.rivals
    assert flex.function == "same mask"
    assert flex.why is not None
    assert "does not support backward on CPU" in flex.why


def test_rivals_are_timed_once_a_function_and_shape() -> None:
    gauge = FakeGauge()
    made = bench(options(lengths=(32, 48), overlaps=(0.0, 0.8), rivals=("flash",)), gauge)
    found = [row for name in ("gsa", "sparse_only") for row in made.records(compiled(name))]
    assert len(found) == 8
    assert gauge.timed == 8 + 2
    assert found[0].rivals == found[1].rivals == found[4].rivals
    assert found[0].rivals != found[2].rivals


def test_a_rival_that_takes_the_choice_is_timed_for_every_choice() -> None:
    gauge = FakeGauge()
    found = rows("msa", options(overlaps=(0.0, 0.8), rivals=("flex",)), gauge=gauge)
    assert [row.rivals[0].function for row in found] == ["same mask"] * 2
    assert gauge.timed == 4
    assert found[0].rivals[0].work["forward"].flops == pytest.approx(found[0].keys * 48 * 2 * 4 * 32, rel=0.01)


def test_a_rival_that_is_wrong_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rivals_module.scaled_dot_product_attention

    def wrong(*args: Any, **more: Any) -> torch.Tensor:
        output: torch.Tensor = real(*args, **more) * 1.01
        return output

    monkeypatch.setattr(rivals_module, "scaled_dot_product_attention", wrong)
    (row,) = rows("dense", options(rivals=("flash",)))
    (flash,) = row.rivals
    assert flash.times == {}
    assert flash.why is not None
    assert flash.why.startswith("WrongResult: dense: output of query")


def test_a_wrong_result_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any) -> Any:
        raise WrongResult("output of query 7 is off")

    monkeypatch.setattr(run_module, "check_gradients", wrong)
    gauge = FakeGauge()
    (row,) = rows("dense", options(forward_only=False, rivals=("flash",)), gauge=gauge)
    assert row.failure == "wrong: output of query 7 is off"
    assert (row.times, row.rivals, row.kernels, gauge.timed) == ({}, (), {}, 0)
    assert Record.from_line(row.to_line()) == row


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 32 GiB\nmore"), "out of memory"),
        (OutOfResources(300000, 232448, "shared memory"), "does not run"),
    ],
)
def test_what_does_not_fit_is_one_rows_failure(error: Exception, said: str) -> None:
    class Full(FakeGauge):
        def time(self, run: Any, repeats: int) -> Any:
            if self.timed == 0:
                self.timed = 1
                raise error
            return super().time(run, repeats)

    first, second = rows("dense", options(lengths=(32, 48)), gauge=Full())
    assert first.failure is not None
    assert first.failure.startswith(f"{said} (times, forward): ")
    assert "more" not in first.failure
    assert first.times == {}
    assert (second.failure, set(second.times)) == (None, {"forward"})


def test_gradients_are_compared_once_a_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def note(attention: Any, length: int, *more: Any) -> int:
        compared.append(length)
        return length

    monkeypatch.setattr(run_module, "check_gradients", note)
    made = bench(options(lengths=(48, 32), forward_only=False))
    found = [row for name in ("dense", "sliding_sink") for row in made.records(compiled(name))]
    assert [row.failure for row in found] == [None] * 4
    assert compared == [32, 32]


def test_the_floors_of_a_machine() -> None:
    setting = setting_of(MACHINE, "1.2", FakeGauge(ms=2.0), CPU, side=100, copied=1000)
    assert setting.matmul_tflops == pytest.approx(2 * 100**3 / 2e-3 / 1e12)
    assert setting.copy_gb_s == pytest.approx(2 * 1000 / 2e-3 / 1e9)
    assert (setting.gpu, setting.gsa_dsl) == (MACHINE.gpu, "1.2")
