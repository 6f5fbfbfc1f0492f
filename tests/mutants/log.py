"""Outcomes in a file, a JSON line each as they come: a run that was broken off goes on from there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.mutants.child import Verdict
from tests.mutants.mutant import Mutant
from tests.mutants.pool import Outcome


def append(path: Path, outcome: Outcome) -> None:
    """Add a line for ``outcome`` to the file, which need not exist."""
    entry = {"name": outcome.mutant.name, "seconds": round(outcome.seconds, 1), **asdict(outcome.verdict)}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


def known(path: Path, mutants: Iterable[Mutant]) -> list[Outcome]:
    """What the file, if it is there, says of ``mutants``; a line cut short by the end of a run says nothing."""
    if not path.exists():
        return []
    by_name = {mutant.name: mutant for mutant in mutants}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if mutant := by_name.get(entry["name"]):
            verdict = Verdict(entry["fate"], entry["by"], entry["where"])
            found[mutant.name] = Outcome(mutant, verdict, entry["seconds"])
    return list(found.values())
