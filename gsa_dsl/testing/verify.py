"""Proof by comparison: a compiled attention against the float64 reference, forward and backward, case by case.

A case first shows that rounding alone explains where the kernel's selection differs from the reference's; then both are
compared at that same selection, so that what remains is arithmetic. Cotangents are random.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from gsa_dsl.options import KernelConfig
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.draws import patterns_for
from gsa_dsl.testing.inputs import PATTERNS
from gsa_dsl.testing.report import Case, Row, VerifyReport, merge
from gsa_dsl.testing.run import Compiled, Run
from gsa_dsl.testing.specs import load_spec, most_keys, small_params
from gsa_dsl.testing.tiles import tiles_for

Shape = tuple[int, int]
HeadShape = tuple[int, int, int] | tuple[int, int, int, int]
Progress = Callable[[str], None]

PHASES = ("sparse", "warmup")

_SHORT: tuple[Shape, ...] = ((2, 1), (2, 7), (2, 33), (1, 45))
_LONG: tuple[Shape, ...] = ((2, 1), (2, 37), (1, 129), (2, 300))
_LONGEST = {"interpret": 128, "torch": 1024, "triton": 8192}  # lengths that a budget may still ask for


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
    strided: bool | None = None,
    catch: bool = False,
) -> VerifyReport:
    """Compare ``compiled`` with the reference and report every quantity of every case.

    ``shapes`` are (batch, length) pairs; by default one position, short, odd, and beyond the budget where that is
    within reach. Random inputs are tried at each, the other ``patterns`` at one; ``phases`` are those of a call.
    ``dtype`` is bfloat16 on Triton and float32 elsewhere unless given; ``device`` is CUDA for Triton, else the CPU.
    ``progress`` is told the name of each case; ``fail_fast`` stops after the first that fails. ``strided``
    lays the operands of every case out in memory back to front; by default, where shapes are not given, one more case
    has such operands. Mistakes are reported, not raised; what the compiled attention itself
    raises passes through, or with ``catch`` is a failure of the quantity "call".
    """
    on_triton = compiled.backend == "triton"
    dtype = dtype or (torch.bfloat16 if on_triton else torch.float32)
    device = torch.device(device or ("cuda" if on_triton else "cpu"))
    usual = strided is None and not shapes
    shapes = tuple(shapes or default_shapes(compiled))
    rows: list[Row] = []
    cases = [replace(case, strided=bool(strided)) for case in _cases(compiled, shapes, patterns)]
    if usual:
        cases += [replace(case, strided=True) for case in _cases(compiled, shapes[1:2], ("normal",))]
    for case in cases:
        if case.phase not in phases:
            continue
        if progress is not None:
            progress(str(case))
        try:
            run = Run(compiled, case, dtype, device, seed)
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
