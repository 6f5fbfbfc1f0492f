"""The rows of a benchmark, one after another: inputs, check, times, stages, rivals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from triton.errors import TritonError

from gsa_dsl.bench.check import WrongResult, check_gradients, checked
from gsa_dsl.bench.choice import pairs_attended
from gsa_dsl.bench.gauge import Gauge, Run
from gsa_dsl.bench.records import Case, Record, Rival, Setting, Work
from gsa_dsl.bench.rivals import NAMES, Contender, contenders, cotangent_for, measured, takes_choice
from gsa_dsl.bench.stages import own_kernels
from gsa_dsl.bench.work import rival_work, work_of
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.results import Selection
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.tuning.inputs import calibrate, overlap_of, workload

OVERLAPS = (0.0, 0.8, 0.93)
"""Of neighbouring choices: by chance alone, and two that real models have."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. ``repeats``: most runs of each, fewer of what takes long. ``forward_only``: no training."""

    lengths: tuple[int, ...]
    overlaps: tuple[float, ...] = OVERLAPS
    repeats: int = 20
    forward_only: bool = False
    rivals: tuple[str, ...] = tuple(NAMES)
    dtype: torch.dtype = torch.bfloat16
    command: str = ""


class Bench:
    """Measures specs in one setting; a rival is timed once a function and shape, gradients are checked once a spec.

    ``tell`` hears what is being done.
    """

    def __init__(
        self, setting: Setting, gauge: Gauge, options: Options, device: torch.device, tell: Callable[[str], None]
    ) -> None:
        self.setting, self.gauge, self.options, self.device, self.tell = setting, gauge, options, device, tell
        self._rivals: dict[tuple[object, ...], Rival] = {}
        self._compared: dict[str, int] = {}

    def records(self, compiled: CompiledAttention) -> Iterator[Record]:
        """A record a length and overlap, each when it is known; one that cannot be had says why."""
        for length in self.options.lengths:
            for wanted in self._overlaps(compiled):
                meta = compiled.meta
                shape = {name: meta[name] for name in ("heads", "kv_heads", "head_dim", "value_dim")}
                case = Case(meta["name"], dict(compiled.spec.params), **shape, length=length, overlap=wanted)
                yield self._record(compiled, case)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()  # what one length leaves in blocks of memory does not suit the next

    def _overlaps(self, compiled: CompiledAttention) -> tuple[float | None, ...]:
        selection = compiled.spec.selection
        by_inputs = selection is not None and selection.queries == 1
        return self.options.overlaps if by_inputs else (None,)

    def _record(self, compiled: CompiledAttention, case: Case) -> Record:
        said = f"{case.spec} at {case.length:,} tokens"
        said += "" if case.overlap is None else f", overlap {case.overlap:g}"
        selection = compiled.spec.selection
        shared = selection.queries if selection is not None else 1
        row = _Row(self, compiled, said, Record(case, self.setting, self.options.command, shared))
        try:
            row.measure()
        except WrongResult as error:
            row.record = dataclasses.replace(row.record, times={}, kernels={}, rivals=(), failure=f"wrong: {error}")
        except torch.OutOfMemoryError as error:
            row.fail("out of memory", error)
        except TritonError as error:
            row.fail("does not run", error)
        return row.record

    def gradients(self, compiled: CompiledAttention, length: int) -> int:
        """Compare gradients of a spec, once. Raises WrongResult."""
        key = str(compiled.path)
        if key not in self._compared:
            self._compared[key] = check_gradients(
                compiled, min(length, *self.options.lengths), self.device, self.options.dtype
            )
        return self._compared[key]

    def rival(self, contender: Contender, work: dict[str, Work]) -> Rival:
        """The rival's times, from an earlier row where it was the same."""
        key = contender.key
        if key is not None and key in self._rivals:
            return self._rivals[key]
        options = self.options
        found = measured(contender, self.gauge, options.repeats, work, forward_only=options.forward_only)
        if key is not None:
            self._rivals[key] = found
        return found


class _Row:
    """One record in the making: what is known so far is in ``record``."""

    def __init__(self, bench: Bench, compiled: CompiledAttention, said: str, record: Record) -> None:
        self.bench, self.compiled, self.said, self.record = bench, compiled, said, record
        self.doing = ""

    def fail(self, kind: str, error: Exception) -> None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = (lines[0] if lines else type(error).__name__)[:200]
        self.record = dataclasses.replace(self.record, failure=f"{kind} ({self.doing}): {detail}")

    def measure(self) -> None:
        bench, compiled, case = self.bench, self.compiled, self.record.case
        options = bench.options
        self._tell("inputs")
        drawn: dict[str, Any] = {"dtype": options.dtype, "device": bench.device}
        memory = calibrate(compiled, case.length, case.overlap or 0.0, **drawn)
        inputs = workload(compiled, case.length, memory, **drawn)
        if not options.forward_only:
            inputs.requires_grad_()
        self._tell("check against float64")
        gradients = None if options.forward_only else lambda: bench.gradients(compiled, case.length)
        self._know(checked=checked(compiled, inputs, gradients))
        selection = self._chosen(inputs)
        pairs = pairs_attended(compiled.spec, inputs, selection)
        overlap = overlap_of(compiled, inputs) if case.overlap is not None else None
        self._know(overlap=overlap, keys=pairs / case.length, work=work_of(compiled, inputs, pairs))
        del selection  # its lists are no part of what a call holds
        self._time("forward", partial(self._forward, inputs))
        if not options.forward_only:
            self._time("training", partial(self._training, inputs, cotangent_for(inputs, case.value_dim)))
        selection = self._chosen(inputs) if takes_choice(compiled.spec, options.rivals) else None
        for contender in contenders(list(options.rivals), compiled.spec, inputs, selection):
            self._tell(contender.name)
            attended = pairs if contender.selection is not None else pairs_attended(contender.spec, inputs, None)
            self._know(rivals=(*self.record.rivals, bench.rival(contender, rival_work(compiled, inputs, attended))))

    def _time(self, phase: str, run: Run) -> None:
        gauge, compiled = self.bench.gauge, self.compiled
        self._tell(f"times, {phase}")
        self._know(times={**self.record.times, phase: gauge.time(run, self.bench.options.repeats)})
        kernels = own_kernels(gauge.kernels(run), compiled.kernels.LAUNCH if compiled.backend != "torch" else ())
        if kernels:
            self._know(kernels={**self.record.kernels, phase: kernels})

    def _know(self, **facts: object) -> None:
        self.record = dataclasses.replace(self.record, **facts)  # type: ignore[arg-type]

    def _tell(self, what: str) -> None:
        self.doing = what
        self.bench.tell(f"{self.said}: {what}")

    def _chosen(self, x: Inputs) -> Selection | None:
        with torch.no_grad():
            aux = self.compiled(x.query, x.key, x.value, **x.keywords(), return_aux=True)[1]
        found: Selection | None = aux.selection if self.compiled.spec.selection is not None else None
        return found

    def _forward(self, x: Inputs) -> Tensor:
        with torch.no_grad():
            output: Tensor = self.compiled(x.query, x.key, x.value, **x.keywords())
        return output

    def _training(self, x: Inputs, cotangent: Tensor) -> None:
        output, aux = self.compiled(x.query, x.key, x.value, **x.keywords(), return_aux=True)
        reached, sent = [output], [cotangent]
        if aux.indexer_loss is not None:
            reached, sent = [output, aux.indexer_loss], [cotangent, torch.ones_like(aux.indexer_loss)]
        torch.autograd.backward(reached, sent)
        x.zero_grad()
