"""One search or one sweep, in a process of its own: a request as JSON on standard input, the result on standard output.

``python -m benchmarks.tuning`` starts these, a GPU each.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import triton

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.bench import ChildBench, Journal, RememberingBench, parted
from gsa_dsl.tuning.children import GPU_BENCH
from gsa_dsl.tuning.estimate import Limits
from gsa_dsl.tuning.found import Found
from gsa_dsl.tuning.job import Failure, Outcome, Timing
from gsa_dsl.tuning.key import Machine, key_for, machine, spec_digest
from gsa_dsl.tuning.prune import Survivors, by_estimate
from gsa_dsl.tuning.search import search
from gsa_dsl.tuning.space import Space, config_from_json, config_to_json, difference, space_of
from gsa_dsl.tuning.tuner import (
    RESERVED,
    Subject,
    entry_of,
    job_of,
    limits_of,
    promising,
    rungs,
    surveyed_from,
)

COMPARING = 60.0
"""Seconds for the last comparison, at most: one run of each at least."""
SWEEPING = 0.9
"""Share of a sweep's time after which no new choices are tried."""


@dataclass(frozen=True)
class Case:
    """What is measured, beside the kind: the key of the results' lines."""

    spec: str
    params: dict[str, int | float]
    length: int
    overlap: float | None
    heads: int
    kv_heads: int
    head_dim: int

    def __str__(self) -> str:
        overlap = "" if self.overlap is None else f" overlap {self.overlap:g}"
        return f"{self.spec} L={self.length}{overlap}"

    def subject(self, path: Path) -> Subject:
        text = path.read_text(encoding="utf-8")
        return Subject(text, path.name, self.params, self.heads, self.kv_heads, self.head_dim)


@dataclass(frozen=True)
class Request:
    """``kind`` is 'search', or how much is swept: 'half' or 'all'.

    ``found`` is the configuration that a sweep is held against; ``seconds`` is for everything, ``budget`` of them for
    a search.
    """

    kind: str
    path: str
    case: Case
    checkers: int
    seconds: float
    budget: float
    found: dict[str, Any] | None = None
    runner: str = GPU_BENCH

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        data = json.loads(text)
        return cls(**{**data, "case": Case(**data["case"])})


def main() -> int:
    begun = time.monotonic()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is no result
    request = Request.from_json(sys.stdin.read())
    print(json.dumps(_One(request, begun).measured()), file=answers, flush=True)
    return 0


class _One:
    def __init__(self, request: Request, begun: float) -> None:
        self.request, self.case, self.until = request, request.case, begun + request.seconds
        self.subject = self.case.subject(Path(request.path))
        if request.runner == GPU_BENCH and not torch.cuda.is_available():
            raise RuntimeError("there is no CUDA device")
        self.here = machine() if torch.cuda.is_available() else _nothing()
        self.space, self.survivors = space_and_survivors(self.subject, self.case.overlap, limits_of(self.here))

    def measured(self) -> dict[str, Any]:
        case, request = self.case, self.request
        line: dict[str, Any] = {"case": asdict(case), "machine": asdict(self.here)}
        with tempfile.TemporaryDirectory(prefix="gsa_dsl_tune_") as folder:
            begun = time.monotonic()
            bench = ChildBench(job_of(self.subject, case.overlap, folder, self.here), request.checkers, request.runner)
            memory = RememberingBench(bench, Journal(Path(folder) / "journal.jsonl"))
            try:
                line |= self._searched(memory, begun) if request.kind == "search" else self._swept(memory)
                compared = [config_from_json(line.pop(name)) for name in ("found", "swept") if name in line]
                line["together"] = _together(bench, [self.space.base, *compared], case.length, self.until)
                line["overlap"] = bench.overlap(case.length, min(self.until, time.monotonic() + COMPARING))
            finally:
                bench.close()
        return line

    def _searched(self, bench: RememberingBench, begun: float) -> dict[str, Any]:
        case, budget = self.case, self.request.budget
        found = self._search(
            self.survivors,
            bench,
            rungs(case.length, surveyed_from(self.space)),
            min(budget * (1 - RESERVED), self.until - begun) - (time.monotonic() - begun),
        )
        seconds = time.monotonic() - begun
        key = key_for(
            spec_digest(self.subject.spec, case.params),
            self.subject.shape,
            self.subject.dtype,
            case.length,
            case.overlap,
            self.here,
        )
        entry = entry_of(key, found, case.overlap)
        return {
            "seconds": seconds,
            "choices": self.survivors.count,
            "entry": None if entry is None else entry.to_json(),
            "change": difference(found.config, self.space.base),
            "failed": [[difference(config, self.space.base), asdict(why)] for config, why in found.failed],
            "found": config_to_json(found.config),
        }

    def _swept(self, bench: RememberingBench) -> dict[str, Any]:
        """A sweep that was cut off is no result, and is not compared."""
        begun, request = time.monotonic(), self.request
        part = halved(self.survivors) if request.kind == "half" else self.survivors
        left = max(self.until - begun - COMPARING / 2, 1.0)
        swept = self._search(part, bench, (self.case.length,), left, SWEEPING, sweep=True)
        sweep = {
            "of": request.kind,
            "choices": part.count,
            "tried": swept.tried,
            "finished": swept.ended == "exhausted" and swept.length == self.case.length,
            "seconds": time.monotonic() - begun,
            "change": difference(swept.config, self.space.base),
            "config": config_to_json(swept.config),
        }
        compared = {"found": request.found} | ({"swept": sweep["config"]} if sweep["finished"] else {})
        return {"sweep": sweep, **compared}

    def _search(
        self,
        survivors: Survivors,
        bench: RememberingBench,
        lengths: tuple[int, ...],
        seconds: float,
        trying: float | None = None,
        *,
        sweep: bool = False,
    ) -> Found:
        wave, abreast = parted(self.request.checkers)
        return search(
            self.space,
            survivors,
            promising(self.space, survivors, self.case.overlap),
            bench,
            lengths=lengths,
            seconds=seconds,
            clock=time.monotonic,
            wave=wave,
            abreast=abreast,
            trying=trying,
            sweep=sweep,
        )


def space_and_survivors(subject: Subject, overlap: float | None, limits: Limits) -> tuple[Space, Survivors]:
    """What may be chosen, and what of it is tried."""
    space = space_of(subject.plan())
    return space, by_estimate(space, limits, itemsize=subject.itemsize, overlap=overlap)


def halved(survivors: Survivors, seed: int = 0) -> Survivors:
    """A random half of the choices of every slot; the first, which is the planner's where that is one, always."""
    chance = random.Random(seed)
    kept = {
        slot: choices[:1] + tuple(choice for choice in choices[1:] if chance.random() < 0.5)
        for slot, choices in survivors.kept.items()
    }
    return replace(survivors, kept=kept)


class _Counting:
    """A bench on which all takes no time and nothing fails."""

    def ready(self, until: float) -> None:
        pass

    def prepare(self, base: KernelConfig, until: float) -> None:
        pass

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        pass

    def compile(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        return [None] * len(configs)

    def inputs_ahead(self, length: int) -> None:
        pass

    def inputs(self, length: int, until: float) -> None:
        pass

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        return [None] * len(configs)

    def prove(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        return [None] * len(configs)

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, until: float, *, kernels: bool
    ) -> list[Outcome]:
        return [Timing({"forward": 1.0, "training": 1.0})] * len(configs)


def configurations(space: Space, survivors: Survivors, overlap: float | None) -> int:
    """How many configurations a sweep measures: each tries a choice of every group."""
    order = promising(space, survivors, overlap)
    bench, clock = _Counting(), lambda: 0.0
    return search(space, survivors, order, bench, lengths=(1,), seconds=1.0, clock=clock, wave=16, sweep=True).tried


def _together(
    bench: ChildBench, configs: list[KernelConfig], length: int, until: float
) -> list[dict[str, float]] | None:
    """Totals of the configurations in one interleaved run; None where that could not be had."""
    bench.inputs_ahead(length)
    bench.inputs(length, until)
    outcomes = bench.time(configs, length, 5, min(until, time.monotonic() + COMPARING), kernels=False)
    timed = [outcome for outcome in outcomes if isinstance(outcome, Timing)]
    return [dict(timing.totals) for timing in timed] if len(timed) == len(configs) else None


def _nothing() -> Machine:
    return Machine("no GPU", "9.0", "none", triton.__version__, torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
