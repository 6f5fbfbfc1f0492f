"""The measuring side of a child process: is a configuration right, and how long do its kernels take?

Every candidate is checked, that is held against the default's results. The default, and what may be chosen in the end,
is proved, that is held against the float64 reference.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources

from gsa_dsl.compiler import CompiledAttention, compile, plan_of
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime import loader
from gsa_dsl.testing.before import ColdAndBusy
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.verify import verify
from gsa_dsl.tuning.inputs import calibrate, overlap_of, workload
from gsa_dsl.tuning.job import PHASES, Job, Timing, WrongResult
from gsa_dsl.tuning.launches import launches_watched, longest_first, only_compiled
from gsa_dsl.tuning.space import config_to_json
from gsa_dsl.tuning.tolerance import mistake

SHORT = 160
"""Where a configuration meets the dense float64 reference: several tiles of queries, several blocks of keys."""
MEMORY = 32.0
"""Tokens of the drift in the inputs of a check: some tiles of queries choose alike, and some do not."""


class Runner(Protocol):
    """What a child process can do for its parent; :class:`Bench` does it on the GPU, tests put another in its place."""

    def compile(self, config: KernelConfig, part: int, parts: int) -> None:
        """Compile one part in so many of what ``check``, ``prove`` and ``time`` will launch; raise if that fails."""

    def check(self, config: KernelConfig) -> None:
        """Raise if the configuration cannot run, or if its results are not the default's."""

    def prove(self, config: KernelConfig) -> None:
        """Raise if the configuration cannot run, or if its results are not the float64 reference's."""

    def inputs(self, length: int) -> None:
        """Make the inputs that times are taken on at ``length``."""

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, seconds: float, kernels: bool
    ) -> list[Timing]:
        """Medians over ``repeats`` interleaved runs at ``length``, fewer if ``seconds`` are over sooner.

        ``kernels`` asks for the times of single kernels beside the totals.
        """

    def overlap(self, length: int) -> float | None:
        """How alike neighbouring queries choose on the inputs at ``length``; None where nothing is chosen."""


class Bench:
    """The :class:`Runner` of a real spec; keeps modules, inputs and the default's results between requests."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.dtype: torch.dtype = getattr(torch, job.dtype)
        self.cuda = job.backend == "triton"
        self.device = torch.device("cuda" if self.cuda else "cpu")
        self.default = compile(
            job.spec,
            name=job.name,
            heads=job.heads,
            kv_heads=job.kv_heads,
            head_dim=job.head_dim,
            params=job.params,
            backend=job.backend,
            tune="off",
            cache_dir=job.folder,
        )
        shape = (job.heads, job.kv_heads, job.head_dim)
        self._plan = plan_of(Source(job.name, job.spec), job.params, shape)
        if self.cuda:
            self.default = self.default.with_config(self.default.planned_config(self.dtype))
            self._plan = replace(self._plan, config=self.default.config)
        self._made: dict[KernelConfig, CompiledAttention] = {self._plan.config: self.default}
        self._inputs: dict[int, Inputs] = {}
        self._expected: dict[str, Tensor] | None = None
        self._checked: dict[tuple[int, float], Inputs] = {}
        self._sent: Tensor | None = None
        self._before: ColdAndBusy | None = None

    def compile(self, config: KernelConfig, part: int, parts: int) -> None:
        """Without a launch, so that it may go on while another process takes times.

        The calls are those of ``check``: the lengths of a proof and of times are multiples of 16 as theirs are, and a
        choice that is handed in makes no other kernels.
        """
        compiled = self._compiled(config)
        kernels = longest_first(compiled.kernels)[part::parts] if self.cuda else []
        if kernels:  # there may be more parts than kernels
            with only_compiled(compiled.kernels, kernels):
                # Without a drift: nothing is computed, and a process that compiles needs no Fourier transform loaded.
                self._results(compiled, memory=0.0)

    def check(self, config: KernelConfig) -> None:
        """Where the default does not run there is nothing to be held against but the reference."""
        compiled = self._compiled(config)
        with launches_watched(compiled.kernels):
            found = self._results(compiled)
        if self._expected is None:
            self._expected = found if compiled is self.default else self._default_results()
        for name, value in found.items() if self._expected else ():
            why = mistake(value, self._expected[name], chooses=self._plan.listed)
            if why is not None:
                raise WrongResult(f"{name} {why}")
        if self.cuda:
            torch.cuda.empty_cache()  # many children share the GPU with the one that takes times
        if not self._expected:
            self.prove(config)

    def prove(self, config: KernelConfig) -> None:
        """One training step of own choice, one at the reference's choice, and inference, at a short length."""
        compiled = self._compiled(config)
        short = (1, min(SHORT, self.job.check_length))
        with launches_watched(compiled.kernels):
            report = verify(compiled, shapes=[short], dtype=self.dtype, patterns=("normal",), phases=("sparse",))
        if not report.ok:
            worst = report.failures[0]
            raise WrongResult(f"{worst.quantity} off by {worst.error:.2g} of {worst.allowed:.2g} ({worst.case})")
        if self.cuda:
            torch.cuda.empty_cache()

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, seconds: float, kernels: bool
    ) -> list[Timing]:
        """Interleaved: each repeat runs every configuration once, so that a drift of the clock meets all alike."""
        until = time.monotonic() + seconds
        inputs = self._workload(length)
        made = [self._compiled(config) for config in configs]
        samples: list[dict[tuple[str, str], list[float]]] = [defaultdict(list) for _ in made]
        launching = dict.fromkeys(PHASES, 0.0)
        for repeat in range(repeats + 1):
            for compiled, taken in zip(made, samples, strict=True):
                for phase, run in zip(PHASES, (self._forward, self._training), strict=True):
                    call = partial(run, compiled, inputs)
                    times, launching[phase] = self._timed(call, compiled.kernels, kernels, launching[phase])
                    if repeat == 0:
                        continue  # the first run loads code and fills caches
                    for name, milliseconds in times.items():
                        taken[phase, name].append(milliseconds)
            if repeat and time.monotonic() >= until:
                break
        return [_medians(taken) for taken in samples]

    def _compiled(self, config: KernelConfig) -> CompiledAttention:
        """The attention with these tile sizes; its module is written where other processes find it too."""
        made = self._made.get(config)
        if made is None:
            from gsa_dsl.codegen.emit import emit_triton

            digest = hashlib.sha256(json.dumps(config_to_json(config)).encode()).hexdigest()[:16]
            path = Path(self.job.folder) / f"candidate_{digest}.py"
            if not path.is_file():
                loader.keep(path, emit_triton(replace(self._plan, config=config)))
            module = loader.load_module(path, interpret=not self.cuda)
            recipe = {**self.default.recipe, "config": config}
            made = CompiledAttention(path, module, self.default.backend, recipe, self.default.spec.source)
            self._made[config] = made
        return made

    def _workload(self, length: int) -> Inputs:
        """The inputs at a length, ready for gradients; those of another length are let go, they may fill the memory."""
        if length not in self._inputs:
            self._inputs.clear()
            if self.cuda:
                torch.cuda.empty_cache()
            options: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
            memory = calibrate(self.default, length, self.job.overlap or 0.0, steps=6, **options)
            self._inputs[length] = workload(self.default, length, memory, **options).requires_grad_()
        return self._inputs[length]

    def inputs(self, length: int) -> None:
        """Also those for gradients of them."""
        self._workload(length)

    def overlap(self, length: int) -> float | None:
        """The overlap that the inputs at this length really have."""
        return overlap_of(self.default, self._workload(length))

    def _call(self, compiled: CompiledAttention, x: Inputs, *, return_aux: bool = False) -> Any:
        return compiled(x.query, x.key, x.value, **x.keywords(), return_aux=return_aux)

    def _forward(self, compiled: CompiledAttention, x: Inputs) -> Tensor:
        with torch.no_grad():
            output: Tensor = self._call(compiled, x)
        return output

    def _training(self, compiled: CompiledAttention, x: Inputs) -> tuple[Tensor, Tensor]:
        """One step: output and log-sum-exp; gradients are left on the inputs."""
        x.zero_grad()
        output, aux = self._call(compiled, x, return_aux=True)
        reached = [output] if aux.indexer_loss is None else [output, aux.indexer_loss]
        torch.autograd.backward(reached, [self._cotangent(output), *(torch.ones_like(y) for y in reached[1:])])
        return output, aux.lse

    def _cotangent(self, output: Tensor) -> Tensor:
        if self._sent is None or self._sent.shape != output.shape:
            generator = torch.Generator(self.device).manual_seed(1)
            noise = torch.randn(output.shape, device=self.device, generator=generator)
            self._sent = noise.to(output.dtype)
        return self._sent

    def _default_results(self) -> dict[str, Tensor]:
        """What candidates are held against; nothing where the planner's tiles do not fit the GPU."""
        try:
            return self._results(self.default)
        except OutOfResources:
            return {}

    def _results(self, compiled: CompiledAttention, memory: float = MEMORY) -> dict[str, Tensor]:
        """Everything a call gives at the length of the check, gradients included; the output where rows are long."""
        length, long_length = self.job.check_length, self.job.long_length
        inputs = self._for_check(length, memory).requires_grad_()
        streamed = self._forward(compiled, inputs)
        output, lse = self._training(compiled, inputs)
        made = {"inference": streamed, "output": output, "lse": lse}
        made |= {f"d {name}": x for name, x in inputs.gradients().items()}
        named = {f"{name} at L={length}": x.detach() for name, x in made.items()}
        if long_length:
            named[f"inference at L={long_length}"] = self._forward(compiled, self._for_check(long_length, memory))
        return named

    def _for_check(self, length: int, memory: float) -> Inputs:
        if (length, memory) not in self._checked:
            options: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
            self._checked[length, memory] = workload(self.default, length, memory, **options)
        return self._checked[length, memory]

    def _timed(
        self, run: Callable[[], object], module: ModuleType, kernels: bool, launching: float
    ) -> tuple[dict[str, float], float]:
        """Milliseconds of one run from a cold cache: ``total`` and, if asked for, each kernel's over its launches.

        Also how many seconds the host took to launch it; ``launching`` is about how long that will be.
        """
        if self.cuda and self._before is None:
            self._before = ColdAndBusy(self.device)
        marks: list[tuple[str, Any, Any]] = []
        with launches_watched(module, (lambda name, a, b: marks.append((name, a, b))) if kernels else None, self._mark):
            if self._before is not None:
                self._before(launching)
            start, begun = self._mark(), time.perf_counter()
            run()
            launching = time.perf_counter() - begun
            marks.append(("total", start, self._mark()))
        if self.cuda:
            torch.cuda.synchronize()
        times: dict[str, float] = defaultdict(float)
        for name, first, last in marks:
            times[name] += first.elapsed_time(last) if self.cuda else (last - first) * 1e3
        return times, launching

    def _mark(self) -> Any:
        """Now, on the time line of the device."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _medians(samples: dict[tuple[str, str], list[float]]) -> Timing:
    middle = {key: statistics.median(values) for key, values in samples.items()}
    return Timing(
        totals={phase: middle[phase, "total"] for phase in PHASES},
        kernels={
            phase: {name: x for (of, name), x in middle.items() if of == phase and name != "total"} for phase in PHASES
        },
    )
