"""``python -m tests.mutants``: put faults into copies of the compiler and see verification catch them.

Exit status 1 if a mutant survives that the table of equivalent ones has no reason for, or if the table is stale.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from tests.mutants import log
from tests.mutants.child import SHEEP, Trial
from tests.mutants.mutant import Mutant, sources
from tests.mutants.named import named
from tests.mutants.pool import Outcome, run_trials, unchanged_modules
from tests.mutants.report import Summary
from tests.mutants.rules import generated, sample
from tests.mutants.specs import SUBJECTS
from tests.mutants.survivors import EQUIVALENT, MISSED


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    mutants = _chosen(arguments)
    if arguments.list:
        print(*(mutant.name for mutant in mutants), sep="\n")
        return 0
    if not mutants:
        print("no mutant has such a name", file=sys.stderr)
        return 2
    known = log.known(arguments.log, mutants) if arguments.log else []
    tried = {outcome.mutant.name for outcome in known}
    waiting = [mutant for mutant in mutants if mutant.name not in tried]
    with unchanged_modules() as folder, _progress(len(waiting), arguments.json) as show:

        def done(outcome: Outcome) -> None:
            show(outcome)
            if arguments.log:
                log.append(arguments.log, outcome)

        if arguments.sheep and (broken := _broken(arguments.jobs)):
            print(*broken, "verification fails without any fault", sep="\n", file=sys.stderr)
            return 1
        most = arguments.specs
        trials = [Trial(mutant, folder, 1 if mutant.name in EQUIVALENT else most) for mutant in waiting]
        outcomes = known + run_trials(trials, jobs=arguments.jobs, done=done)
    summary = Summary(tuple(sorted(outcomes, key=lambda outcome: outcome.mutant)), EQUIVALENT, MISSED)
    print(json.dumps(summary.data(), indent=2) if arguments.json else summary)
    return 0 if summary.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "--per-rule",
        type=int,
        default=1,
        metavar="N",
        help="generated mutants of a file and rule (default: %(default)s)",
    )
    parser.add_argument("--all", action="store_true", help="every generated mutant")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="those with this in their name; may be repeated"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )
    parser.add_argument(
        "--sheep", action="store_true", help="first try the compiler as it is: what fails then says nothing of faults"
    )
    parser.add_argument("--specs", type=int, metavar="N", help="try each on N specs at most (default: all it changes)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="append every outcome to FILE; those of a run that was broken off are taken from it, not tried again",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _chosen(arguments: argparse.Namespace) -> list[Mutant]:
    files = sources()
    mutants = generated(files)
    if not arguments.all and not arguments.only:
        mutants = sample(mutants, arguments.per_rule)
    # In an order without meaning, so that a run that is broken off has tried a fair sample.
    mutants = [*named(files), *sorted(mutants, key=lambda mutant: sha256(mutant.name.encode()).digest())]
    return [m for m in mutants if not arguments.only or any(text in m.name for text in arguments.only)]


def _broken(jobs: int) -> list[str]:
    """The specs on which the compiler as it is fails: what is caught there says nothing of a fault."""
    trials = [
        Trial(replace(SHEEP, file=file), subjects=(subject,))
        for subject in SUBJECTS
        for file in ("templates/eager.py.jinja", "templates/module.py.jinja")
    ]
    bad = (outcome.verdict for outcome in run_trials(trials, jobs=jobs) if outcome.verdict.fate != "survived")
    return [f"{verdict.where}: {verdict.by}" for verdict in bad]


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[Outcome], None]]:
    """A bar on a terminal, else a line for each mutant, on standard error."""
    if quiet or not sys.stderr.isatty():
        yield _line if not quiet else lambda outcome: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("mutants", total=total)

        def done(outcome: Outcome) -> None:
            bar.advance(task)
            if outcome.verdict.fate != "killed":
                bar.console.print(f"{outcome.verdict.fate}: {outcome.mutant.name}", markup=False, highlight=False)

        yield done


def _line(outcome: Outcome) -> None:
    verdict = outcome.verdict
    print(
        f"{verdict.fate:<11} {outcome.seconds:5.1f} s  {outcome.mutant.name}  {verdict.by} {verdict.where}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
