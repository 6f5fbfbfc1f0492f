"""How good is a search? ``python -m benchmarks.tuning examples/gsa.gsa --lengths 32768 --sweep half --out out.jsonl``.

For every spec, length and overlap: a search within its budget, then, if asked for, a sweep that measures every choice
of every group (or a random half) at the real length; each is followed by default, winner of the search and winner of
the sweep in one interleaved run. Cases are spread over GPUs, searches first, in the order in which specs are named. A
JSON line each; what the file holds already is left out, so that a run that had to end early is gone on with by the same
command. A sweep that was cut off is no result: its line says so, and the same command begins it again.
``python -m benchmarks.ship`` makes the shipped file and the table of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.spread import Ended, Spread, Task, gpu_environments
from benchmarks.tuning_case import Case, Request, configurations, halved, space_and_survivors
from gsa_dsl.codegen.emit import launches
from gsa_dsl.tuning.children import GPU_BENCH
from gsa_dsl.tuning.estimate import Limits
from gsa_dsl.tuning.found import gain
from gsa_dsl.tuning.job import Timing
from gsa_dsl.tuning.tuner import SHARED_MEMORY, cores

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import Plan

WALL = 540.0
"""Seconds after which nothing more is begun and the last cases are cut short, unless asked otherwise."""
STARTING = 15.0
"""Seconds until a process and those that it starts are ready, and its last comparison is made."""
COMPILING, CHECKING, LOADING = 0.6, 2.0, 0.5
"""Seconds a kernel to compile on a busy machine, and a configuration to check and to load from the compiler's cache."""
DENSE, ALIKE, UNLIKE = 250e12, 150e12, 25e12
"""Flops a second of an H100 as its kernels are: of scores, of attention to keys that neighbours share, and do not."""
RUNS = 4
"""Of both phases, a configuration of a sweep; where runs are long it takes half of them."""


@dataclass(frozen=True)
class Job:
    """A search or a sweep of a case, with what it will measure and how long that should take."""

    kind: str
    path: Path
    case: Case
    choices: int
    configurations: int
    seconds: float

    @property
    def key(self) -> Hashable:
        return _key("search" if self.kind == "search" else "sweep", asdict(self.case))


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    gpus = torch.cuda.device_count() if options.gpus is None else options.gpus
    if gpus < 1 and not options.plan:
        print("benchmarks.tuning: a CUDA device is needed; this machine has none", file=sys.stderr)
        return 2
    gpus = max(gpus, 1)
    checkers = max(1, min(14, cores() // gpus - 2)) if options.checkers is None else options.checkers
    lines = _lines(options.out)
    jobs = [job for job in _jobs(options, checkers) if not _done(job, lines)]
    if options.plan:
        _print_plan(jobs, gpus, checkers, options)
        return 0
    report = _Report(options.out, time.monotonic(), len(jobs))
    tasks = [_task(job, options, checkers) for job in jobs]
    known = {key: line for key, line in lines.items() if _usable(line)}
    until = time.monotonic() + options.wall
    left = Spread(tasks, gpu_environments(gpus), until, report.tell, known, _usable).run()
    if left:
        print(f"not begun, {len(left)}: {'; '.join(task.said for task in left)}; the same command goes on from here")
    return 1 if report.lost else 0


def _parser() -> argparse.ArgumentParser:
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
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a search (default: %(default)s)")
    parser.add_argument(
        "--sweep", choices=("none", "half", "all"), default="none", help="measure every choice, or half"
    )
    parser.add_argument(
        "--sweep-all", nargs="+", default=[], metavar="SPEC@LENGTH", help="measure every choice there, whatever --sweep"
    )
    parser.add_argument("--sweep-seconds", type=float, default=float("inf"), help="at most, a sweep")
    parser.add_argument("--gpus", type=int, help="how many to spread the cases over (default: all that are visible)")
    parser.add_argument("--wall", type=float, default=WALL, help="seconds for everything (default: %(default)s)")
    parser.add_argument("--plan", action="store_true", help="print what would be measured and how long it should take")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="append a JSON line a case")
    parser.add_argument("--runner", default=GPU_BENCH, help=argparse.SUPPRESS)
    parser.add_argument(
        "--checkers", type=int, help="child processes a GPU (default: by the cores that there are, 14 at most)"
    )
    return parser


def _jobs(options: argparse.Namespace, checkers: int) -> list[Job]:
    """Searches in the order of the specs, then sweeps: of everything, of the same lengths, and the longest last."""
    limits = Limits(SHARED_MEMORY["9.0"] << 10)
    searches, sweeps = [], []
    for path, case in _cases(options):
        subject = case.subject(path)
        plan = subject.plan()
        space, survivors = space_and_survivors(subject, case.overlap, limits)
        searches.append(Job("search", path, case, survivors.count, 0, options.budget + STARTING))
        kind = "all" if f"{case.spec}@{case.length}" in options.sweep_all else options.sweep
        if kind != "none":
            part = halved(survivors) if kind == "half" else survivors
            count = configurations(space, part, case.overlap)
            compiling = COMPILING * len(launches(plan)) / 2 + CHECKING  # half of a slate's kernels are known
            run = run_seconds(plan, case.length, case.overlap)
            timing = LOADING + RUNS * run / (2 if run > 0.5 else 1)
            seconds = STARTING + count * (max(compiling / checkers, timing) + CHECKING / checkers)
            sweeps.append(Job(kind, path, case, part.count, count, seconds))
    lengths = {job.case.length for job in sweeps if job.kind == "all"}
    return searches + sorted(sweeps, key=lambda job: (job.kind != "all", job.case.length not in lengths, job.seconds))


def _cases(options: argparse.Namespace) -> list[tuple[Path, Case]]:
    pairs = (param.split("=") for param in options.param)
    params: dict[str, int | float] = {name: float(x) if "." in x else int(x) for name, x in pairs}
    shape = (options.heads, options.kv_heads, options.head_dim)
    cases = []
    for path in options.specs:
        listed = Case(path.stem, params, 1, None, *shape).subject(path).plan().listed
        for length in options.lengths:
            cases += [
                (path, Case(path.stem, params, length, x, *shape)) for x in (options.overlaps if listed else [None])
            ]
    return cases


def run_seconds(plan: Plan, length: int, overlap: float | None) -> float:
    """Roughly, of a run of both phases: by the flops, at the rates that were seen on an H100."""
    shape, score, budget = plan.shape, plan.score, plan.budget
    keys, training = float(plan.first + plan.last), 0.0
    dense = 0.0
    if score is not None and budget is not None:
        block = plan.grain.block
        # A budget that follows the scores is mostly half of what it may be.
        keys = keys * block + budget.most * block / (2 if budget.statistics else 1)
        columns = length / (block if plan.grain.pool else 1) / plan.grain.queries
        sets = plan.shape.kv_heads if plan.grain.per_kv_head else 1
        dense = sets * length * columns * score.heads * score.dim
        training = sets * 6.0 * score.heads * score.dim if plan.temperature is not None else 0.0
    keys = min(keys, length / 2)
    a_pair = 2.0 * shape.heads * (shape.head_dim + shape.value_dim)
    # Forward in both phases, two and a half times as much backward, and the loss's logits.
    sparse = length * keys * (4.5 * a_pair + training + (a_pair / 2 if training else 0.0))
    return 2 * dense / DENSE + sparse / (UNLIKE if overlap is not None and overlap < 0.5 else ALIKE)


def _task(job: Job, options: argparse.Namespace, checkers: int) -> Task:
    """The process that measures a job; a sweep begins once the search of its case has found something."""

    def request(seconds: float, searched: Any) -> str:
        found = None if job.kind == "search" else searched["entry"]["config"]
        path = str(job.path.resolve())
        return Request(job.kind, path, job.case, checkers, seconds, options.budget, found, options.runner).to_json()

    search = job.kind == "search"
    return Task(
        key=job.key,
        said=str(job.case) if search else f"{job.case}, sweep of {job.kind}",
        command=(sys.executable, "-m", "benchmarks.tuning_case"),
        seconds=job.seconds,
        request=request,
        most=float("inf") if search else options.sweep_seconds,
        after=None if search else _key("search", asdict(job.case)),
    )


class _Report:
    """Writes each result down as it comes, and says it in a line."""

    def __init__(self, out: Path, begun: float, count: int) -> None:
        self.out, self.begun, self.count = out, begun, count
        self.ended = self.lost = 0

    def tell(self, ended: Ended) -> None:
        self.ended += 1
        self.lost += ended.result is None or ended.result.get("entry", "") is None
        if ended.result is not None:
            with self.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(ended.result) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        said = f"lost after {ended.seconds:.0f} s: {ended.why}" if ended.result is None else _said(ended.result)
        at = time.monotonic() - self.begun
        print(f"{at:4.0f} s, {self.ended} of {self.count}, GPU {ended.slot}: {ended.task.said}: {said}", flush=True)


def _said(line: dict[str, Any]) -> str:
    sweep = line.get("sweep")
    if sweep is None and line["entry"] is None:
        return f"nothing could be measured: {line['failed'][0][1]['detail'] if line['failed'] else 'no time'}"
    if sweep is not None and not sweep["finished"]:
        return f"unfinished after {sweep['seconds']:.0f} s and {sweep['tried']} configurations"
    start = f"{(line if sweep is None else sweep)['seconds']:.1f} s, {(line if sweep is None else sweep)['change']}"
    if line["together"] is None:
        return f"{start}; not compared"
    default, found, *swept = (Timing(totals) for totals in line["together"])
    said = f"{start}; {gain(default, found):.2f} x the default"
    return said + "".join(f", {gain(other, found):.2f} x the sweep's best" for other in swept)


def _lines(path: Path) -> dict[Hashable, dict[str, Any]]:
    """The last line of each kind and case; one that was cut off is as if it had not been written."""
    found: dict[Hashable, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found[_key("sweep" if "sweep" in line else "search", line["case"])] = line
    return found


def _key(kind: str, case: dict[str, Any]) -> Hashable:
    return kind, json.dumps(case, sort_keys=True)


def _usable(line: dict[str, Any]) -> bool:
    """Whether a line is a result: something was measured, and a sweep was finished."""
    return line["sweep"]["finished"] if "sweep" in line else line["entry"] is not None


def _done(job: Job, lines: dict[Hashable, dict[str, Any]]) -> bool:
    line = lines.get(job.key)
    same = line is not None and (job.kind == "search" or line["sweep"]["of"] == job.kind)
    return line is not None and same and _usable(line)


def _print_plan(jobs: Sequence[Job], gpus: int, checkers: int, options: argparse.Namespace) -> None:
    """A line a job, and how long all of them should take."""
    busy = [0.0] * gpus
    for job in jobs:
        seconds = min(job.seconds, options.sweep_seconds) if job.kind != "search" else job.seconds
        cut = ", cut off" if seconds < job.seconds else ""
        what = f"{job.choices} choices" + (f", {job.configurations} configurations" if job.configurations else "")
        first = min(range(gpus), key=lambda gpu: busy[gpu])
        busy[first] += seconds
        print(f"{busy[first]:6.0f} s  {job.kind:6} {job.case}: {what}, {job.seconds:.0f} s{cut}")
    total = sum(min(job.seconds, options.sweep_seconds) if job.kind != "search" else job.seconds for job in jobs)
    print(
        f"{len(jobs)} jobs, {total:.0f} s of one GPU, {max(busy, default=0.0):.0f} s with {gpus}, "
        f"each with {checkers} child processes; --gpus and --checkers tell of another machine"
    )


if __name__ == "__main__":
    sys.exit(main())
