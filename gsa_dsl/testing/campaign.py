"""All that ``gsa verify`` does to one compiled attention: the usual cases, drawn ones, and the smallest failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.testing.draws import Draw, draws
from gsa_dsl.testing.failing import Failing, standalone
from gsa_dsl.testing.report import Row, VerifyReport, merge
from gsa_dsl.testing.reproduction import save
from gsa_dsl.testing.shrink import shrink
from gsa_dsl.testing.verify import verify

Progress = Callable[[str], None]
LONGEST = {"interpret": 70, "torch": 300, "triton": 2048}
"""How many positions a drawn case may have: what is quick on the backend."""


@dataclass(frozen=True, slots=True)
class Found:
    """The report on everything, and every case that failed, the shortest first."""

    report: VerifyReport
    failures: tuple[Failing, ...]

    def smallest(self, seconds: float, progress: Progress | None = None) -> Smallest | None:
        """The first failure that can be seen a second time, simplified for ``seconds``; None if none can."""
        for failing in self.failures:
            try:
                return Smallest(*shrink(failing, seconds=seconds, progress=progress))
            except ValueError:
                continue
        return None


@dataclass(frozen=True, slots=True)
class Smallest:
    """The simplest failure that was found, and the report on it."""

    failing: Failing
    report: VerifyReport

    def save(self, path: str | None = None) -> Path:
        """Write the pytest file that reproduces it."""
        return save(self.failing, self.report, None if path is None else Path(path))


@dataclass(frozen=True)
class Campaign:
    """A verification of ``compiled``, whose parameters are ``params``; the rest as for :func:`verify`."""

    compiled: CompiledAttention
    params: Mapping[str, int | float]
    shapes: Sequence[tuple[int, int]] | None = None
    examples: int = 0
    seed: int = 0
    dtype: str | None = None
    device: str | None = None

    def run(self, progress: Progress | None = None) -> Found:
        """The usual cases, then the drawn ones."""
        usual = self._verify(progress, shapes=self.shapes, seed=self.seed)
        reports, failures = [usual], self._failures(usual, self.seed)
        spec, longest = self.compiled.spec, LONGEST[self.compiled.backend]
        for draw in draws(spec, self.examples, seed=self.seed, longest=longest):
            shapes, patterns = [(draw.batch, draw.length)], (draw.pattern,)
            found = self._verify(progress, shapes=shapes, patterns=patterns, seed=draw.seed, strided=draw.strided)
            reports.append(replace(found, rows=tuple(_labelled(row, draw) for row in found.rows), notes=()))
            failures += self._failures(found, draw.seed)
        failures.sort(key=lambda failing: failing.case.batch * failing.case.length)
        return Found(merge(spec.name, tuple(reports)), tuple(failures))

    def _verify(self, progress: Progress | None, **options: Any) -> VerifyReport:
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        return verify(self.compiled, dtype=dtype, device=self.device, progress=progress, catch=True, **options)

    def _failures(self, report: VerifyReport, seed: int) -> list[Failing]:
        compiled = self.compiled
        text, config = standalone(compiled.spec, self.params), compiled.recipe["config"]
        cases = dict.fromkeys(row.case for row in report.failures)
        return [Failing(text, compiled.backend, case, report.dtype, seed, self.device, config) for case in cases]


def _labelled(row: Row, draw: Draw) -> Row:
    return row if row.ok else replace(row, note=f"{row.note} (seed {draw.seed})".strip())
