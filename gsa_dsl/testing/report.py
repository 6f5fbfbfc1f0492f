"""What a verification found, as values that print and serialise."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One set of inputs: sizes, phase and the pattern of :func:`gsa_dsl.testing.inputs.make_inputs`.

    ``strided``: laid out in memory back to front.
    """

    batch: int
    length: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    pattern: str
    phase: str
    strided: bool = False

    def __str__(self) -> str:
        sizes = f"B={self.batch} L={self.length} H={self.heads}/{self.kv_heads} D={self.head_dim}"
        if self.value_dim != self.head_dim:
            sizes += f"/{self.value_dim}"
        phase = "" if self.phase == "sparse" else f" {self.phase}"
        return f"{sizes} {self.pattern}{phase}{' strided' if self.strided else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of one case: its worst error beside what is allowed, both in the quantity's units."""

    case: Case
    quantity: str
    error: float
    allowed: float
    ok: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All rows of a verification; ``notes`` tell what it could not exercise."""

    name: str
    backend: str
    device: str
    dtype: str
    seed: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something was compared and everything agreed."""
        return bool(self.rows) and not self.failures

    @property
    def failures(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.ok)

    def worst(self) -> tuple[Row, ...]:
        """Of each quantity the row that comes nearest to its limit, or goes furthest beyond it."""
        best: dict[str, Row] = {}
        for row in self.rows:
            known = best.get(row.quantity)
            if known is None or _share(row) > _share(known):
                best[row.quantity] = row
        return tuple(best.values())

    def to_json(self) -> str:
        """Every row, as JSON; numbers that are not finite are written as strings."""
        data = asdict(self) | {"ok": self.ok}
        for row in data["rows"]:
            for key in ("error", "allowed"):
                if not math.isfinite(row[key]):
                    row[key] = str(row[key])
        return json.dumps(data, indent=2)

    def __str__(self) -> str:
        """A summary: a line a quantity, then every failure."""
        verdict = "ok" if self.ok else "FAILED"
        lines = [
            f"{self.name} on {self.backend} ({self.device}, {self.dtype}): {verdict}, {len(self.rows)} comparisons"
        ]
        lines += [_line(row) for row in self.worst()]
        if self.failures:
            lines += ["failures:", *(_line(row) for row in self.failures)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def merge(name: str, reports: tuple[VerifyReport, ...]) -> VerifyReport:
    """One report from several on the same device. Raises ValueError if there are none."""
    if not reports:
        raise ValueError("no reports to merge")
    first = reports[0]
    return VerifyReport(
        name=name,
        backend=first.backend,
        device=first.device,
        dtype=", ".join(dict.fromkeys(report.dtype for report in reports)),
        seed=first.seed,
        rows=tuple(row for report in reports for row in report.rows),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


def _line(row: Row) -> str:
    mark = "ok  " if row.ok else "FAIL"
    line = f"  {mark} {row.quantity:<16} {row.error:9.2e} of {row.allowed:8.2e}  {row.case}"
    return f"{line}  {row.note}" if row.note else line


def _share(row: Row) -> float:
    if not row.ok:
        return math.inf
    return row.error / row.allowed if row.allowed > 0 else 0.0
