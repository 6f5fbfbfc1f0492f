"""What a benchmark found, as plain values: one record a (spec, shape, length, overlap), one JSON line a record.

A line is the :class:`Record` as an object, its fields under their own names; ``schema`` tells the version of this
layout. Times are milliseconds, sizes bytes, work FLOPs, rates TFLOP/s and GB/s (10^12 and 10^9 a second).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1

PHASES = ("forward", "training")
"""Inference, selection included; and a forward and backward pass with the indexer's loss, where the spec trains one."""


class NotRecords(ValueError):
    """A file holds something else than records of this version; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A phase, measured: the median time of ``runs`` runs, the peak of allocated memory, and what was held before.

    ``host_ms`` is how long the host took to launch a run, while the GPU was busy with something else. Lines without it
    are of an idle GPU, whose times hold what of that the GPU waited for.
    """

    ms: float
    peak: int
    held: int
    runs: int
    host_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """The GPU and the software, and what the GPU did in the same run: a matrix product in bf16 and a copy."""

    gpu: str
    capability: str
    driver: str
    torch: str
    triton: str
    gsa_dsl: str
    matmul_tflops: float
    copy_gb_s: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What was held against the float64 reference before any time was taken.

    ``rows``: queries whose choice and output were compared at the record's own length; ``worst``: the largest error of
    an output, as a share of what is allowed (at most 1). ``gradients_at``: the length at which every quantity and
    gradient was compared, None for a record without training.
    """

    rows: int
    worst: float
    gradients_at: int | None


@dataclass(frozen=True, slots=True)
class Work:
    """What a phase has to do at least: FLOPs by the cost formulas at the pairs really attended to; bytes, with every
    operand and result moved once; and the bytes that the cost formulas count, chosen keys once a query.
    """

    flops: float
    bytes: float
    modelled_bytes: float


@dataclass(frozen=True, slots=True)
class Rival:
    """An attention of others on the same query, key and value. ``function`` says what it computes; ``why`` says why
    there are no times, where there are none. ``work``, by phase, is that of attention alone.
    """

    name: str
    function: str
    times: Mapping[str, Timed] = field(default_factory=dict)
    work: Mapping[str, Work] = field(default_factory=dict)
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What was asked for. ``overlap`` is the one aimed at, None where it is not a matter of the inputs."""

    spec: str
    params: Mapping[str, int | float]
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    length: int
    overlap: float | None

    @property
    def shape(self) -> str:
        """``64/4 x 128``: query heads, kv heads, width; with the width of values where it is another."""
        width = f"{self.head_dim}" if self.value_dim == self.head_dim else f"{self.head_dim}/{self.value_dim}"
        return f"{self.heads}/{self.kv_heads} x {width}"


@dataclass(frozen=True, slots=True)
class Record:
    """One case, measured at batch 1 in bf16, or the reason (``failure``) why it could not be.

    ``command``: the one that measured it. ``overlap``: mean Jaccard index of neighbouring queries' choices, measured;
    None where there is nothing to measure. ``shared``: how many queries share a choice by the spec's words. ``keys``:
    what a query attends to, on average.
    ``times`` and ``work`` by phase; ``kernels``: milliseconds by phase and kernel, ``other`` being all kernels that are
    not the compiled module's; empty where the profiler saw none.
    """

    case: Case
    setting: Setting
    command: str = ""
    shared: int = 1
    overlap: float | None = None
    keys: float = 0.0
    checked: Checked | None = None
    times: Mapping[str, Timed] = field(default_factory=dict)
    work: Mapping[str, Work] = field(default_factory=dict)
    kernels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()
    failure: str | None = None

    def tflops(self, phase: str) -> float:
        """Useful TFLOP/s of a phase that was measured."""
        return self.work[phase].flops / self.times[phase].ms / 1e9

    def floors(self, phase: str) -> tuple[float, float]:
        """The milliseconds that the work of a phase takes at the measured speed of matrix products, and of a copy."""
        work = self.work[phase]
        return work.flops / self.setting.matmul_tflops / 1e9, work.bytes / self.setting.copy_gb_s / 1e6

    def to_line(self) -> str:
        """The record as a line of JSON, without the line's end."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Record:
        """The record that :meth:`to_line` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(line)
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise ValueError(f"no record of schema {SCHEMA}")
        return cls(
            **data
            | {
                "case": Case(**data["case"]),
                "setting": Setting(**data["setting"]),
                "checked": None if data["checked"] is None else Checked(**data["checked"]),
                "times": _timed(data["times"]),
                "work": _work(data["work"]),
                "rivals": tuple(
                    Rival(**rival | {"times": _timed(rival["times"]), "work": _work(rival["work"])})
                    for rival in data["rivals"]
                ),
            }
        )


def _timed(data: Mapping[str, Any]) -> dict[str, Timed]:
    return {phase: Timed(**timed) for phase, timed in data.items()}


def _work(data: Mapping[str, Any]) -> dict[str, Work]:
    return {phase: Work(**work) for phase, work in data.items()}


def append(path: Path, record: Record) -> None:
    """Add the record's line to the file at ``path``, which is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(record.to_line() + "\n")


def read(paths: Iterable[Path]) -> list[Record]:
    """The records in some files, in their order; of several for a case the last counts, at the place of the first.

    Raises:
        OSError: a file cannot be read.
        NotRecords: a line is no record of this version.
    """
    found: dict[str, Record] = {}
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = Record.from_line(line)
            except (ValueError, KeyError, TypeError) as error:
                raise NotRecords(f"{path}:{number}: {error}") from error
            found[json.dumps(asdict(record.case), sort_keys=True)] = record
    return list(found.values())
