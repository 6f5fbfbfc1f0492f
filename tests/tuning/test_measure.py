"""The measuring side of a child process, for real: interpreted kernels at tiny sizes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from triton.runtime.errors import OutOfResources
from triton.tools.tensor_descriptor import TensorDescriptor

from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime import loader
from gsa_dsl.tuning import measure
from gsa_dsl.tuning.inputs import drift, overlap, overlap_of, workload
from gsa_dsl.tuning.job import Job, KernelFailure, WrongResult
from gsa_dsl.tuning.launches import launches_replaced, launches_watched, left_out, only_compiled
from gsa_dsl.tuning.measure import Bench
from gsa_dsl.tuning.space import space_of
from gsa_dsl.tuning.tuner import Subject, job_of, surveyed_from
from tests.codegen.generated import PARAMS, example

SMALL = KernelConfig(
    tile=8,
    block_keys=16,
    backward_keys=16,
    score_rows=16,
    score_keys=16,
    strip=1,
    scan_keys=64,
    list_keys=32,
    sample=16,
)


def bench(tmp_path: Path, name: str, overlap: float | None = None) -> Bench:
    text = example(name).text
    job = Job(text, f"{name}.gsa", PARAMS[name], 4, 2, 16, "float32", overlap, str(tmp_path), 20, backend="interpret")
    return Bench(job)


def test_a_right_configuration_passes_and_is_timed_kernel_by_kernel(tmp_path: Path) -> None:
    made = bench(tmp_path, "sliding_sink")
    base = made._plan.config
    other = replace(base, tile=8, block_keys=16, backward_keys=16)
    made.check(other)
    first, second = made.time([base, other], 24, 1, 60.0, True)
    for timing in (first, second):
        assert set(timing.totals) == {"forward", "training"}
        assert set(timing.kernels["forward"]) == {"attend_fwd_kernel"}
        assert {"attend_bwd_query_kernel", "attend_bwd_key_kernel"} < set(timing.kernels["training"])
        assert 0 < sum(timing.kernels["training"].values()) < timing.totals["training"]
        assert timing.of(("attend_fwd_kernel",)) > timing.kernels["forward"]["attend_fwd_kernel"]
    assert made.time([base], 24, 1, 60.0, False)[0].kernels == {"forward": {}, "training": {}}
    assert made.overlap(24) is None


def test_medians_of_turns_without_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench(tmp_path, "sliding_sink")
    base = made._plan.config
    order: list[KernelConfig] = []

    ahead: list[float] = []

    def timed(run: partial[object], module: object, kernels: bool, lead: float) -> tuple[dict[str, float], float]:
        order.append(run.args[0].config)
        ahead.append(lead)
        return {"total": 1000.0 if len(order) <= 4 else float(len(order))}, len(order) / 100

    monkeypatch.setattr(made, "_timed", timed)
    other = replace(base, tile=8)
    first, second = made.time([base, other], 24, 3, 60.0, False)
    assert order == [base, base, other, other] * 4
    # The host is to be ahead by what launching the same phase took before.
    assert ahead == [0.0, 0.0, *(turn / 100 for turn in range(1, 15))]
    assert first.totals == {"forward": 9.0, "training": 10.0}
    assert second.totals == {"forward": 11.0, "training": 12.0}
    order.clear()
    made.time([base, other], 24, 3, 0.0, False)
    assert len(order) == 8  # no time left: a warm-up and one run


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("acc = acc * shrink[:, None] + ", "acc = acc * shrink[:, None] + 1.05 * "),
        ("ds = (p * (dp - delta[:, None]))", "ds = (p * dp)"),
        ("(s[None, :] > t[:, None] - LAST)", "(s[None, :] > t[:, None] - LAST - 1)"),
    ],
    ids=["values", "gradient", "window"],
)
def test_a_wrong_configuration_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    from gsa_dsl.codegen import emit

    made = bench(tmp_path, "sliding_sink")
    real: Callable[..., str] = emit.emit_triton

    def broken(plan: object) -> str:
        text = real(plan)
        assert right in text
        return text.replace(right, wrong)

    monkeypatch.setattr(emit, "emit_triton", broken)
    with pytest.raises(WrongResult, match="of the default's"):
        made.check(replace(made._plan.config, tile=8))
    with pytest.raises(WrongResult, match="B=1 L=20"):
        made.prove(replace(made._plan.config, tile=8))


def test_a_check_holds_against_the_default_and_a_proof_against_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(tmp_path, "sliding_sink")
    other = replace(made._plan.config, tile=8)
    verified: list[KernelConfig] = []
    real = measure.verify

    def verify(compiled: Any, **options: Any) -> Any:
        verified.append(compiled.config)
        return real(compiled, **options)

    monkeypatch.setattr(measure, "verify", verify)
    made.check(made._plan.config)
    made.check(other)
    assert not verified
    made.prove(other)
    assert verified == [other]
    made._expected = {name: 1.5 * x for name, x in made._results(made.default).items()}
    made.prove(other)
    with pytest.raises(WrongResult, match=r"inference at L=20 has a row that is off by .* of the default's"):
        made.check(other)


def test_where_the_default_does_not_run_a_check_is_a_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench(tmp_path, "sliding_sink")
    base, other = made._plan.config, replace(made._plan.config, tile=8)
    real = made._results

    def results(compiled: Any) -> Any:
        if compiled is made.default:
            raise OutOfResources(300_000, 232_448, "shared memory")
        return real(compiled)

    monkeypatch.setattr(made, "_results", results)
    proved: list[KernelConfig] = []
    monkeypatch.setattr(made, "prove", proved.append)
    with pytest.raises(OutOfResources):
        made.check(base)
    made.check(other)
    assert proved == [other]


@pytest.mark.slow
def test_a_spec_that_chooses_keys(tmp_path: Path) -> None:
    made = bench(tmp_path, "gsa", overlap=0.5)
    made._plan = replace(made._plan, config=SMALL)
    made.default = made._compiled(SMALL)
    made.check(replace(SMALL, tile=16))
    (timing,) = made.time([SMALL], 32, 1, 60.0, True)
    assert {"score_kernel", "threshold_kernel", "list_kernel"} < set(timing.kernels["forward"])
    assert "indexer_loss_kernel" in timing.kernels["training"]
    found = made.overlap(32)
    assert found is not None
    assert 0.2 < found < 0.9


def test_a_launch_that_fails_names_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench(tmp_path, "sliding_sink")
    kernels = made.default.kernels

    class Broken:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            def launch(*_: object, **__: object) -> None:
                raise RuntimeError("misaligned address")

            return launch

    monkeypatch.setattr(kernels, "attend_bwd_query_kernel", Broken())
    before = kernels.attend_fwd_kernel
    with pytest.raises(KernelFailure, match="misaligned") as raised, launches_watched(kernels):
        made._results(made.default)
    assert raised.value.kernel == "attend_bwd_query_kernel"
    assert kernels.attend_fwd_kernel is before


def test_a_workload_has_the_shapes_of_a_call(tmp_path: Path) -> None:
    made = bench(tmp_path, "gsa")
    options = {"dtype": torch.float32, "device": "cpu"}
    white, steady = (workload(made.default, 40, memory, **options) for memory in (0.0, 64.0))  # type: ignore[arg-type]
    assert {name: tuple(x.shape) for name, x in white.tensors().items()} == {
        "query": (1, 4, 40, 16),
        "key": (1, 2, 40, 16),
        "value": (1, 2, 40, 16),
        "gates.value": (1, 2, 40, 16),
        "gates.output": (1, 4, 40, 16),
        "index.q": (1, 4, 40, 64),
        "index.k": (1, 40, 64),
        "index.w": (1, 4, 40),
        "index.b": (4,),
    }
    for name, x in white.tensors().items():
        same = torch.equal(x, steady.tensors()[name])
        assert same is (name not in ("index.q", "index.w"))

    def step(x: torch.Tensor) -> float:
        return (x[:, :, 1:] - x[:, :, :-1]).square().mean().item()

    assert steady.index is not None
    assert white.index is not None
    assert step(steady.index["q"]) < 0.2 * step(white.index["q"])


def _kind(x: object) -> object:
    """What Triton compiles apart for."""
    if isinstance(x, torch.Tensor):
        return x.dtype, x.data_ptr() % 16 == 0
    if isinstance(x, TensorDescriptor):
        return x.base.dtype, tuple(x.block_shape)
    return (x == 1, x % 16 == 0) if isinstance(x, int) and not isinstance(x, bool) else x


def test_drift_keeps_the_variance() -> None:
    noise = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    moved = drift(noise, 16.0)
    assert moved.var().item() == pytest.approx(1.0, abs=0.1)
    assert (moved[:, 1:] * moved[:, :-1]).mean().item() == pytest.approx(0.94, abs=0.05)
    assert drift(noise, 0.0) is noise


@pytest.mark.parametrize("length", [4096, 4097])
@pytest.mark.parametrize("memory", [2.0**14, 2.0**24])
def test_a_drift_much_slower_than_the_sequence_is_long_has_numbers_of_the_same_size(length: int, memory: float) -> None:
    noise = torch.randn(64, length, generator=torch.Generator().manual_seed(4))
    moved = drift(noise, memory)
    assert moved.isfinite().all()
    assert 0.8 < moved.square().mean().sqrt() < 1.2
    assert (moved.diff(dim=1).square().mean() / moved.square().mean()).sqrt() < 0.05


def test_kernels_are_compiled_without_a_launch_or_left_out() -> None:
    done: list[tuple[str, object]] = []

    class Kernel:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: object) -> Callable[..., None]:
            return lambda *args, **_: done.append((f"{self.name} ran", args))

        def warmup(self, *args: object, grid: object, num_warps: int) -> Kernel:
            done.append((f"{self.name} compiled", args))
            return self

        @property
        def run(self) -> None:
            done.append((f"{self.name} loaded", ()))

    module = ModuleType("generated")
    module.LAUNCH = {"one_kernel": {}, "other_kernel": {}}  # type: ignore[attr-defined]
    one, other = module.one_kernel, module.other_kernel = Kernel("one"), Kernel("other")  # type: ignore[attr-defined]
    with only_compiled(module, ("one_kernel",)):
        module.one_kernel[1,](1, num_warps=4)
        module.other_kernel[1,](1, num_warps=4)
    with left_out(module, ("one_kernel",)):
        module.one_kernel[1,](2)
        module.other_kernel[1,](3)
    assert done == [("one compiled", (1,)), ("one loaded", ()), ("other ran", (3,))]
    assert (module.one_kernel, module.other_kernel) == (one, other)


@pytest.mark.slow
def test_long_rows_are_checked_too(tmp_path: Path) -> None:
    made = bench(tmp_path, "gsa")
    made.job = replace(made.job, long_length=80)
    made._plan = replace(made._plan, config=SMALL)
    made.default = made._compiled(SMALL)
    launched: set[str] = set()
    with launches_watched(made.default.kernels, lambda name, *_: launched.add(name)):
        expected = made._results(made.default)
    assert launched == set(made.default.kernels.LAUNCH) - {"attend_bwd_key_kernel"}  # of the warm-up alone
    assert expected["inference at L=80"].shape[2] == 80


@pytest.mark.slow
def test_the_overlap_of_choices_needs_neither_attention_nor_loss(tmp_path: Path) -> None:
    made = bench(tmp_path, "gsa")
    inputs = workload(made.default, 40, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        aux = made.default(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)[1]
    launched: list[str] = []
    with launches_watched(made.default.kernels, lambda name, *_: launched.append(name)):
        assert overlap_of(made.default, inputs) == overlap(aux.selection)
    assert "list_kernel" in launched
    assert not {"attend_fwd_kernel", "indexer_loss_kernel"} & set(launched)


@pytest.mark.parametrize("name", ["gsa", "dsa", "msa", "nsa_select", "sliding_sink"])
def test_what_is_proved_and_timed_was_compiled_for_the_check(name: str, tmp_path: Path) -> None:
    """Triton compiles apart for integers that are 1 or multiples of 16: none may be so at one length alone."""
    subject = Subject(example(name).text, f"{name}.gsa", {}, 16, 1, 32, "float32", "interpret")
    long_length = surveyed_from(space_of(subject.plan())) + 1024
    made = Bench(replace(job_of(subject, 0.5, str(tmp_path)), check_length=4096, long_length=long_length))
    kernels = made.default.kernels
    seen: dict[str, set[tuple[object, ...]]] = {}

    compiled_ones = loader.load_module(made.default.path)

    def note(kernel: str, _: object, grid: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        params = getattr(compiled_ones, kernel).params
        named = {**{param.name: x for param, x in zip(params, args, strict=False)}, **kwargs}
        free = {param.name for param in params if param.do_not_specialize}
        fixed = {param.name for param in params if param.is_constexpr}
        kinds = ((name, x if name in fixed else _kind(x)) for name, x in named.items() if name not in free)
        seen.setdefault(kernel, set()).add(tuple(kinds))

    with launches_replaced(kernels, note):
        made._results(made.default)
        before = {kernel: set(variants) for kernel, variants in seen.items()}
        inputs = workload(made.default, 12288, dtype=torch.float32, device="cpu").requires_grad_()
        made._forward(made.default, inputs)
        made._training(made.default, inputs)
        with torch.no_grad():  # as inputs are made
            made.default(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)
        with suppress(WrongResult):  # nothing was launched
            made.prove(made._plan.config)
    assert seen == before
    # Keys of tokens are for the warm-up, and rows of more blocks than one warp holds for longer sequences.
    unused = {"attend_bwd_key_kernel"} | (
        {"threshold_kernel"} if "narrow_threshold_kernel" in kernels.LAUNCH else set()
    )
    assert set(seen) >= set(kernels.LAUNCH) - unused
