"""Tuning where there is something to tune: a real search, its result in use, and what new lengths compile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import triton

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.bench import ChildBench
from gsa_dsl.tuning.inputs import calibrate, overlap_of, workload
from gsa_dsl.tuning.job import Failure
from gsa_dsl.tuning.key import length_bucket
from gsa_dsl.tuning.tuner import Subject, job_of

pytestmark = pytest.mark.gpu

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PARAMS = {"k_base": 256, "k_min": 64, "k_max": 512}


def compiled(tmp_path: Path, name: str = "gsa", **options: object) -> gsa_dsl.CompiledAttention:
    params = PARAMS if name == "gsa" else {}
    given: dict[str, object] = {"heads": 16, "kv_heads": 2, "head_dim": 64, "backend": "triton", "params": params}
    return gsa_dsl.compile(EXAMPLES / f"{name}.gsa", cache_dir=tmp_path, **(given | options))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsa", "sliding_sink"])
def test_a_search_keeps_its_budget_and_its_result_is_used(name: str, tmp_path: Path) -> None:
    attention = compiled(tmp_path, name)
    inputs = workload(attention, 4096, 32.0)
    expected = attention(inputs.query, inputs.key, inputs.value, **inputs.keywords())
    begun = time.monotonic()
    report = attention.tune([4096], budget=45.0)
    assert time.monotonic() - begun <= 1.1 * 45.0
    (row,) = report.rows
    assert row.entry is not None, str(report)
    assert row.entry.gain >= 1.0
    assert not [why for _, why in row.failures if why.kind in ("wrong result", "crashed", "hung")], row.failures
    begun = time.monotonic()
    assert attention.tune([4096]).rows[0].origin == "stored"
    assert time.monotonic() - begun < 5.0
    chosen = compiled(tmp_path, name).tuned(3000)
    assert chosen is not None
    assert chosen.config == row.entry.config
    again = attention(inputs.query, inputs.key, inputs.value, **inputs.keywords())
    assert (again.float() - expected.float()).abs().max() <= 0.05 * expected.float().abs().max()


def test_what_does_not_fit_is_a_failure_of_its_kernel(tmp_path: Path) -> None:
    text = (EXAMPLES / "sliding_sink.gsa").read_text(encoding="utf-8")
    subject = Subject(text, "sliding_sink.gsa", {}, 64, 4, 128)
    bench = ChildBench(job_of(subject, None, str(tmp_path)), 1)
    try:
        huge = KernelConfig(tile=16, block_keys=256, backward_keys=256)
        (why,) = bench.check([huge], time.monotonic() + 300)
        (good,) = bench.check([KernelConfig()], time.monotonic() + 300)
    finally:
        bench.close()
    assert isinstance(why, Failure)
    assert why.kind == "out of resources", why
    assert why.kernel in ("attend_fwd_kernel", "attend_bwd_query_kernel")
    assert good is None


def test_two_hundred_lengths_compile_a_few_times_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = compiled(tmp_path)
    compilations: list[str] = []

    def note(**facts: object) -> None:
        compilations.append(str(facts["repr"]))

    monkeypatch.setattr(triton.knobs.runtime, "jit_post_compile_hook", note)
    lengths = [100 + 19 * n for n in range(200)]
    for length in lengths:
        inputs = workload(attention, length).requires_grad_()
        output, aux = attention(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)
        (output.sum() + aux.indexer_loss).backward()
    # A kernel is compiled anew at most where strides begin or cease to be multiples of 16.
    assert len(compilations) <= 4 * len(attention.kernels.LAUNCH), len(compilations)
    assert len({length_bucket(length) for length in lengths}) > 4


@pytest.mark.parametrize("wanted", [0.5, 0.93])
def test_inputs_overlap_as_asked(wanted: float, tmp_path: Path) -> None:
    attention = compiled(tmp_path, k_base=256, k_min=256, k_max=256, params=None)
    found = overlap_of(attention, workload(attention, 8192, calibrate(attention, 8192, wanted)))
    assert found == pytest.approx(wanted, abs=0.05)
    torch.cuda.empty_cache()
