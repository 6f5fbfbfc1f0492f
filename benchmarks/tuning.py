"""How good is a search? ``python -m benchmarks.tuning examples/gsa.gsa --lengths 32768 --sweep all --out found.jsonl``.

For every spec, length and overlap: a search within its budget, then, if asked for, a sweep that measures every choice
of every group (or a random half) at the real length, then default, winner of the search and winner of the sweep in one
interleaved run. A JSON line a case; cases that are in the file already are left out, so that a run that had to end
early is gone on with by the same command. ``python -m benchmarks.ship`` makes the shipped file and the table of them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.bench import ChildBench, Journal, RememberingBench
from gsa_dsl.tuning.job import Timing
from gsa_dsl.tuning.key import key_for, machine, spec_digest
from gsa_dsl.tuning.prune import Survivors, by_estimate
from gsa_dsl.tuning.search import Found, gain, search
from gsa_dsl.tuning.space import Space, config_to_json, difference, space_of
from gsa_dsl.tuning.tuner import Subject, default_checkers, entry_of, job_of, limits_of, promising, rungs

WALL = 540.0
"""Seconds after which nothing more is begun and the last case is cut short, unless asked otherwise."""


@dataclass(frozen=True)
class Case:
    """One line of the results."""

    spec: str
    params: dict[str, int | float]
    length: int
    overlap: float | None
    heads: int
    kv_heads: int
    head_dim: int


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tuning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specs", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--lengths", nargs="+", type=int, default=[8192, 32768, 131072])
    parser.add_argument("--overlaps", nargs="+", type=float, default=[0.0, 0.93], help="of neighbours' choices")
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="a spec's parameter")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a search")
    parser.add_argument(
        "--sweep", choices=("none", "half", "all"), default="none", help="measure every choice, or half"
    )
    parser.add_argument("--wall", type=float, default=WALL, help="seconds for everything (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="append a JSON line a case")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("benchmarks.tuning: a CUDA device is needed; this machine has none", file=sys.stderr)
        return 2
    until = time.monotonic() + options.wall
    for path, case in _cases(options):
        if time.monotonic() + options.budget > until:
            print(f"no time left for {case}; the same command goes on from here")
            return 0
        line = measure(path, case, options.budget, options.sweep, until)
        with options.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(_said(case, line), flush=True)
    return 0


def _cases(options: argparse.Namespace) -> Iterator[tuple[Path, Case]]:
    """Every case that is not in the file of results."""
    pairs = (param.split("=") for param in options.param)
    params: dict[str, int | float] = {name: float(x) if "." in x else int(x) for name, x in pairs}
    shape = (options.heads, options.kv_heads, options.head_dim)
    done = set()
    if options.out.exists():
        lines = options.out.read_text(encoding="utf-8").splitlines()
        done = {json.dumps(json.loads(line)["case"], sort_keys=True) for line in lines}
    for path in options.specs:
        listed = Subject(path.read_text(encoding="utf-8"), path.name, params, *shape).plan().listed
        for length in options.lengths:
            for overlap in options.overlaps if listed else [None]:
                case = Case(path.stem, params, length, overlap, *shape)
                if json.dumps(asdict(case), sort_keys=True) not in done:
                    yield path, case


def measure(path: Path, case: Case, budget: float, sweep: str, until: float) -> dict[str, Any]:
    """Search, sweep and compare one case; everything that is known of it as plain values."""
    subject = Subject(
        path.read_text(encoding="utf-8"), path.name, case.params, case.heads, case.kv_heads, case.head_dim
    )
    here, space = machine(), space_of(subject.plan())
    digest = spec_digest(subject.spec, case.params)
    key = key_for(digest, subject.shape, subject.dtype, case.length, case.overlap, here)
    survivors = by_estimate(space, limits_of(here), itemsize=subject.itemsize, overlap=case.overlap)
    line: dict[str, Any] = {"case": asdict(case), "machine": asdict(here), "sweep": None}
    with tempfile.TemporaryDirectory(prefix="gsa_dsl_tune_") as folder:
        begun = time.monotonic()
        bench = ChildBench(job_of(subject, case.overlap, folder), default_checkers())
        # The sweep need not check again what the search has checked.
        memory = RememberingBench(bench, Journal(Path(folder) / "journal.jsonl"))
        try:
            found = _search(space, survivors, memory, rungs(case.length), min(budget, until - begun), case.overlap)
            line["seconds"] = time.monotonic() - begun
            entry = entry_of(key, found, case.overlap)
            line["entry"] = None if entry is None else entry.to_json()
            line["change"] = difference(found.config, space.base)
            line["failed"] = [[difference(config, space.base), asdict(why)] for config, why in found.failed]
            configs = [space.base, found.config]
            if sweep != "none":
                part = halved(survivors) if sweep == "half" else survivors
                left = until - time.monotonic() - budget / 4
                memory = RememberingBench(bench, Journal(Path(folder) / "journal.jsonl"))
                swept = _search(space, part, memory, (case.length,), max(left, 1.0), case.overlap)
                line["sweep"] = {"of": sweep, "choices": part.count, "config": config_to_json(swept.config)}
                line["sweep"] |= {"ended": swept.ended, "tried": swept.tried}
                line["sweep"]["change"] = difference(swept.config, space.base)
                configs.append(swept.config)
            line["together"] = _together(bench, configs, case.length, until)
            line["overlap"] = bench.overlap(case.length, until)
        finally:
            bench.close()
    return line


def _search(
    space: Space,
    survivors: Survivors,
    bench: RememberingBench,
    lengths: tuple[int, ...],
    seconds: float,
    overlap: float | None,
) -> Found:
    return search(
        space,
        survivors,
        promising(space, survivors, overlap),
        bench,
        lengths=lengths,
        seconds=seconds,
        clock=time.monotonic,
        wave=default_checkers(),
    )


def halved(survivors: Survivors, seed: int = 0) -> Survivors:
    """A random half of the choices of every slot; the first, which is the planner's where that is one, always."""
    chance = random.Random(seed)
    kept = {
        slot: choices[:1] + tuple(choice for choice in choices[1:] if chance.random() < 0.5)
        for slot, choices in survivors.kept.items()
    }
    return replace(survivors, kept=kept)


def _together(
    bench: ChildBench, configs: list[KernelConfig], length: int, until: float
) -> list[dict[str, float]] | None:
    """Totals of the configurations in one interleaved run; None where that could not be had."""
    outcomes = bench.time(configs, length, 5, until, kernels=False)
    timed = [outcome for outcome in outcomes if isinstance(outcome, Timing)]
    return [dict(timing.totals) for timing in timed] if len(timed) == len(configs) else None


def _said(case: Case, line: dict[str, Any]) -> str:
    overlap = "" if case.overlap is None else f" overlap {case.overlap:g}"
    start = f"{case.spec} L={case.length}{overlap}: {line['seconds']:.1f} s, {line['change']}"
    if line["together"] is None:
        return f"{start}; not compared"
    default, found, *swept = (Timing(totals) for totals in line["together"])
    said = f"{start}; {gain(default, found):.2f} x the default"
    return said + "".join(f", {gain(other, found):.2f} x the sweep's best" for other in swept)


if __name__ == "__main__":
    sys.exit(main())
