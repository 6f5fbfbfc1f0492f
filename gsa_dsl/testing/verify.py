"""Proof by comparison: a compiled attention against the float64 reference, forward and backward, case by case.

A case first shows that rounding alone explains where the kernel's selection differs from the reference's; then both are
compared at that same selection, so that what remains is arithmetic. Cotangents are random.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gsa_dsl.options import KernelConfig
from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.compare import compare_selection
from gsa_dsl.testing.draws import patterns_for
from gsa_dsl.testing.inputs import PATTERNS, Inputs, make_inputs
from gsa_dsl.testing.poison import PoisonedMemory
from gsa_dsl.testing.report import Case, Row, VerifyReport, merge
from gsa_dsl.testing.scored import alike_units, row_errors
from gsa_dsl.testing.specs import load_spec, most_keys, small_params
from gsa_dsl.testing.tiles import tiles_for
from gsa_dsl.testing.tolerance import deviation

Shape = tuple[int, int]
HeadShape = tuple[int, int, int] | tuple[int, int, int, int]
Progress = Callable[[str], None]

PHASES = ("sparse", "warmup")

_SHORT: tuple[Shape, ...] = ((2, 1), (2, 7), (2, 33), (1, 45))
_LONG: tuple[Shape, ...] = ((2, 1), (2, 37), (1, 129), (2, 300))
_LONGEST = {"interpret": 128, "torch": 1024, "triton": 8192}  # lengths that a budget may still ask for
_LOSS_WEIGHT = 1.7  # the cotangent of the indexer's loss


class Compiled(Protocol):
    """What a compiled attention offers, as far as it is used here."""

    @property
    def spec(self) -> CheckedSpec: ...

    @property
    def backend(self) -> str: ...

    @property
    def recipe(self) -> Mapping[str, Any]: ...

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        gates: Mapping[str, Tensor] | None = None,
        index: Mapping[str, Tensor] | None = None,
        ema: Tensor | None = None,
        phase: str = "sparse",
        selection: Tensor | None = None,
        extras: Mapping[str, Tensor] | None = None,
        return_aux: bool = False,
    ) -> Any: ...


def verify(
    compiled: Compiled,
    *,
    shapes: Sequence[Shape] | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    patterns: Sequence[str] = PATTERNS,
    phases: Sequence[str] = PHASES,
    progress: Progress | None = None,
    fail_fast: bool = False,
    strided: bool = False,
    catch: bool = False,
) -> VerifyReport:
    """Compare ``compiled`` with the reference and report every quantity of every case.

    ``shapes`` are (batch, length) pairs; by default one position, short, odd, and beyond the budget where that is
    within reach. Random inputs are tried at each, the other ``patterns`` at one; ``phases`` are those of a call.
    ``dtype`` is bfloat16 on Triton and float32 elsewhere unless given; ``device`` is CUDA for Triton, else the CPU.
    ``progress`` is told the name of each case; ``fail_fast`` stops after the first that fails. ``strided``
    lays the operands out in memory back to front. Mistakes are reported, not raised; what the compiled attention itself
    raises passes through, or with ``catch`` is a failure of the quantity "call".
    """
    on_triton = compiled.backend == "triton"
    dtype = dtype or (torch.bfloat16 if on_triton else torch.float32)
    device = torch.device(device or ("cuda" if on_triton else "cpu"))
    shapes = tuple(shapes or default_shapes(compiled))
    rows: list[Row] = []
    for case in _cases(compiled, shapes, patterns):
        if case.phase not in phases:
            continue
        if progress is not None:
            progress(str(case))
        try:
            run = _Run(compiled, case, dtype, device, seed, strided)
            rows += run.own_selection()
            if case.pattern == "normal" and case.phase == "sparse":
                rows += [*run.given_selection(), run.inference()]
        except Exception as error:
            if not catch:
                raise
            rows.append(Row(case, "call", math.inf, 0.0, False, f"{type(error).__name__}: {error}"))
        if fail_fast and not all(row.ok for row in rows):
            break
    return VerifyReport(
        name=compiled.spec.name,
        backend=compiled.backend,
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        seed=seed,
        rows=tuple(rows),
        notes=_notes(compiled.spec, shapes),
    )


def verify_spec(
    path_or_text: str | os.PathLike[str],
    *,
    backend: str = "auto",
    head_shapes: Sequence[HeadShape] | None = None,
    shapes: Sequence[Shape] | None = None,
    params: Mapping[str, int | float] | None = None,
    config: KernelConfig | None = None,
    dtype: torch.dtype | None = None,
    patterns: Sequence[str] = PATTERNS,
    seed: int = 0,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compile a spec for several (heads, kv_heads, head_dim), or with a value_dim too, and :func:`verify` each.

    ``params`` default to the spec's own, scaled down so that the shapes exceed the budget (``small_params``);
    ``config`` is handed to ``gsa_dsl.compile``; interpreted kernels get small tiles without one. Raises SpecError for a
    wrong spec.
    """
    import gsa_dsl

    spec = load_spec(path_or_text)
    reports = []
    for heads, kv_heads, head_dim, *value_dim in head_shapes or _default_heads(backend):
        compiled = gsa_dsl.compile(
            path_or_text,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            value_dim=value_dim[0] if value_dim else None,
            backend=backend,
            config=config or tiles_for(backend, heads, kv_heads),
            params=params if params is not None else small_params(spec),
        )
        report = verify(compiled, shapes=shapes, seed=seed, dtype=dtype, patterns=patterns, progress=progress)
        reports.append(report)
    return merge(spec.name, tuple(reports))


def default_shapes(compiled: Compiled) -> tuple[Shape, ...]:
    """(batch, length) pairs that are quick on the backend, and one beyond the budget if that is within reach."""
    shapes = _SHORT if compiled.backend == "interpret" else _LONG
    most = most_keys(compiled.spec)
    longest = max(length for _, length in shapes)
    if most is None or most < longest or most * 3 // 2 > _LONGEST[compiled.backend]:
        return shapes
    return (*shapes, (1, most * 3 // 2 + 5))


def _default_heads(backend: str) -> tuple[HeadShape, ...]:
    if backend == "interpret" or not torch.cuda.is_available():
        return (4, 4, 16), (4, 1, 16)
    return (4, 4, 64), (8, 2, 80), (16, 1, 128)


def _cases(compiled: Compiled, shapes: Sequence[Shape], patterns: Sequence[str]) -> Iterator[Case]:
    recipe, spec = compiled.recipe, compiled.spec
    heads = (recipe["heads"], recipe["kv_heads"] or recipe["heads"], recipe["head_dim"], recipe["value_dim"])
    fitting = [pattern for pattern in patterns if pattern in patterns_for(spec)]
    busiest = max(shapes, key=lambda shape: shape[1] if shape[1] <= 1024 else -shape[1])
    for batch, length in shapes:
        for pattern in fitting if (batch, length) == busiest else [p for p in fitting if p == "normal"]:
            yield Case(batch, length, *heads, pattern, "sparse")
            if spec.indexer is not None and pattern in ("normal", "nan"):
                yield Case(batch, length, *heads, pattern, "warmup")


def _notes(spec: CheckedSpec, shapes: Sequence[Shape]) -> tuple[str, ...]:
    most = most_keys(spec)
    if most is None or any(length > most for _, length in shapes):
        return ()
    return (f"no case is longer than the {most} keys a query may have: nothing was left out by any selection",)


@dataclass(frozen=True, slots=True)
class _Result:
    """The quantities of one evaluation by name, gradients included."""

    quantities: dict[str, Tensor]
    gradients: dict[str, Tensor]


class _Run:
    """One case: its inputs, the reference's free choice, and the comparisons made of them."""

    def __init__(
        self, compiled: Compiled, case: Case, dtype: torch.dtype, device: torch.device, seed: int, strided: bool = False
    ) -> None:
        self.compiled, self.spec, self.case, self.dtype = compiled, compiled.spec, case, dtype
        inputs = make_inputs(
            self.spec,
            batch=case.batch,
            length=case.length,
            heads=case.heads,
            kv_heads=case.kv_heads,
            head_dim=case.head_dim,
            value_dim=case.value_dim,
            dtype=dtype,
            device=device,
            seed=seed,
            pattern=case.pattern,
        )
        self.inputs = (inputs.strided() if strided else inputs).requires_grad_()
        generator = torch.Generator().manual_seed(seed + 1)
        shape = (case.batch, case.heads, case.length, case.value_dim)
        self.cotangent = torch.randn(shape, generator=generator).to(device=device, dtype=dtype)
        with torch.no_grad():
            self.free = self._reference(self.inputs, torch.float64)

    def own_selection(self) -> list[Row]:
        """The kernel as it is used: its choice held against the reference's, then everything else at its choice."""
        output, aux = self._call()
        self.trained = output.detach()
        rows = [self._selection_row(aux)] if self._chooses else []
        mask = None
        if self._chooses and aux.selection is not None:
            mask = aux.selection.mask()
        return rows + self._compare(output, aux, mask, given=False)

    def given_selection(self) -> list[Row]:
        """The kernel at the reference's choice, handed in."""
        if not self._chooses:
            return []
        output, aux = self._call(selection=self.free.selected)
        return self._compare(output, aux, self.free.selected, given=True)

    def inference(self) -> Row:
        """Without gradients the kernels may take another way; the output is that of :meth:`own_selection`."""
        x = self.inputs
        with torch.no_grad(), PoisonedMemory():
            output = self.compiled(x.query, x.key, x.value, **x.keywords(), phase=self.case.phase)
        off = deviation(output, self.trained.double(), self.trained, self.dtype)
        return Row(self.case, "output (inference)", off.error, off.allowed, off.ok)

    @property
    def _chooses(self) -> bool:
        return self.spec.selection is not None and self.case.phase == "sparse"

    def _call(self, **options: Any) -> tuple[Tensor, Any]:
        self.inputs.zero_grad()
        x = self.inputs
        with PoisonedMemory():
            output, aux = self.compiled(
                x.query, x.key, x.value, **x.keywords(), phase=self.case.phase, return_aux=True, **options
            )
        return output, aux

    def _reference(self, inputs: Inputs, dtype: torch.dtype, selection: Tensor | None = None) -> ReferenceResult:
        return reference(
            self.spec,
            inputs.query,
            inputs.key,
            inputs.value,
            **inputs.keywords(),
            phase=self.case.phase,
            selection=selection,
            dtype=dtype,
        )

    def _selection_row(self, aux: Any) -> Row:
        spec, free, inputs = self.spec, self.free, self.inputs
        if aux.selection is None or free.scores is None:
            return Row(self.case, "selection", float("inf"), 0.0, False, "no selection was returned")
        state = inputs.ema if inputs.ema is not None else torch.zeros(0, device=free.scores.device)
        with torch.no_grad():
            error = row_errors(spec, inputs, self.dtype)
            alike = alike_units(spec, inputs)
        found = compare_selection(spec, aux.selection.mask(), aux.budget, free, state.double(), error, alike)
        note = "; ".join(found.problems) or f"{found.differing} of {found.selected} keys differ"
        return Row(self.case, "selection", max(found.gap, 0.0), found.allowed, found.ok, note)

    def _compare(self, output: Tensor, aux: Any, mask: Tensor | None, *, given: bool) -> list[Row]:
        """Rows for every quantity of a call, with the reference and eager torch at the selection ``mask``."""
        with PoisonedMemory():
            actual = self._backward(self.inputs, output, aux, given)
        expected, eager = (self._evaluate(dtype, mask, given) for dtype in (torch.float64, self.dtype))
        lse = expected.quantities["lse"]
        logits = torch.where(lse.isfinite(), lse.abs(), 0.0).amax().item()
        suffix = " (given)" if given else ""
        rows = []
        for group in ("quantities", "gradients"):
            found, exact, other = (getattr(result, group) for result in (actual, expected, eager))
            for name, value in exact.items():
                label = f"d {name}" if group == "gradients" else name
                if name not in found:
                    rows.append(Row(self.case, label + suffix, float("inf"), 0.0, False, "missing"))
                    continue
                floor, size = self._floor(label), 0.0 if label == "lse" else logits
                off = deviation(found[name], value, other[name], self.dtype, floor=floor, logits=size)
                rows.append(Row(self.case, label + suffix, off.error, off.allowed, off.ok))
        return rows

    def _evaluate(self, dtype: torch.dtype, mask: Tensor | None, given: bool) -> _Result:
        inputs = self.inputs.to(dtype).requires_grad_()
        result = self._reference(inputs, dtype, mask)
        return self._backward(inputs, result.output, result, given)

    def _backward(self, inputs: Inputs, output: Tensor, aux: Any, given: bool) -> _Result:
        """Send the cotangents back from ``output`` and the loss of ``aux``; collect what there is to compare."""
        quantities = {"output": output, "lse": aux.lse}
        if aux.indexer_loss is not None:
            quantities["indexer_loss"] = aux.indexer_loss
        if aux.ema_inputs is not None and self._chooses and not given:
            quantities["ema_inputs"] = aux.ema_inputs
        total = (output * self.cotangent.to(output.dtype)).sum()
        if aux.indexer_loss is not None:
            total = total + _LOSS_WEIGHT * aux.indexer_loss
        torch.autograd.backward(total)
        return _Result({name: x.detach() for name, x in quantities.items()}, inputs.gradients())

    def _floor(self, label: str) -> float:
        """The size of the terms that cancel in ``label``: softmax gradients and the divergence are differences."""
        if label == "indexer_loss":
            return 1.0
        if label in ("d query", "d key"):
            x = self.inputs
            other = x.key if label == "d query" else x.query
            return _rms(self.cotangent) * _rms(x.value) * _largest(other)
        if label.startswith("d index."):
            choosing = self.case.kv_heads if self.spec.selection is not None and self.spec.selection.per_kv_head else 1
            rows = 1 if label == "d index.b" else self.case.batch * self.case.length * choosing
            loss = _LOSS_WEIGHT / rows if self.spec.train is not None else 0.0
            return loss + (self._weight_gradient() if self.spec.soft else 0.0)
        if label.startswith("d extras."):
            return self._weight_gradient()
        for gate in self.spec.gates:
            if gate.target in ("query", "key") and label in {f"d gates.{tensor.name}" for tensor in gate.tensors}:
                gated = self.inputs.query if gate.target == "query" else self.inputs.key
                added = 1 if gate.granularity == "element" else self.case.heads * self.case.head_dim
                return self._floor(f"d {gate.target}") * _rms(gated) * math.sqrt(added)
        return 0.0

    def _weight_gradient(self) -> float:
        """The size of the products of a value and the output's gradient, whose mean a logit's gradient subtracts."""
        value = self.inputs.value
        return _rms(self.cotangent) * _rms(value) * math.sqrt(value.shape[-1])


def _largest(x: Tensor) -> float:
    """The root mean square of the largest vector: of terms that cancel, one hot key's are the largest."""
    return x.detach().double().square().mean(-1).amax().sqrt().item()


def _rms(x: Tensor) -> float:
    return x.detach().double().square().mean().sqrt().item()
