"""What searches found, for everyone: ``python -m benchmarks.ship found.jsonl --to gsa_dsl/tuning/shipped/h100.json``.

Reads the lines of ``python -m benchmarks.tuning``, writes the entries as a file that comes with the package, and the
table of docs/tuning.md between its two markers. Of several lines for a case the last counts, of each kind.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from gsa_dsl.runtime.loader import write_atomically
from gsa_dsl.tuning.found import gain
from gsa_dsl.tuning.job import Timing
from gsa_dsl.tuning.store import Contents, Entry, dump

BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->\n"
_HEAD = """\
| spec | tokens | overlap | forward, default | tuned | training, default | tuned | gain | of the sweep's best | search |
|---|---|---|---|---|---|---|---|---|---|
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ship", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="JSONL")
    parser.add_argument("--to", type=Path, metavar="JSON", help="write the entries there")
    parser.add_argument("--docs", type=Path, metavar="MD", help="put the table between the markers of this file")
    options = parser.parse_args(argv)
    lines = newest([json.loads(text) for path in options.results for text in path.read_text("utf-8").splitlines()])
    entries = [Entry.from_json(line["entry"]) for line in lines if line["entry"] is not None]
    if options.to is not None:
        write_atomically(options.to, dump(Contents({entry.key: entry for entry in entries})))
    table = render(lines)
    if options.docs is not None:
        write_atomically(options.docs, inserted(options.docs.read_text(encoding="utf-8"), table))
    print(table, end="")
    return 0


def newest(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last search of each case, with the sweep that it was held against; by spec, length and overlap."""
    by_case: dict[str, dict[str, Any]] = {}
    for line in lines:
        case = json.dumps(line["case"], sort_keys=True)
        if "sweep" not in line:
            by_case[case] = line
        elif case in by_case and not line["sweep"]["finished"]:
            by_case[case] = {"sweep": line["sweep"]} | by_case[case]
        elif case in by_case and line["together"] is not None:
            by_case[case] |= {name: line[name] for name in ("sweep", "together")}
    return sorted(by_case.values(), key=lambda line: [line["case"][x] or 0 for x in ("spec", "length", "overlap")])


def render(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown, with the geometric mean of the gains; times in ms."""
    compared = [line for line in lines if line["together"] is not None]
    if not compared:
        return "Nothing has been measured.\n"
    rows = [_row(line) for line in compared]
    gains = [_gain(line) for line in compared]
    mean = math.exp(sum(map(math.log, gains)) / len(gains))
    here = compared[0]["machine"]
    said = f"{here['gpu']}, torch {here['torch']}, triton {here['triton']}; times in ms, geometric mean of the gains"
    swept = [_of_best(line) for line in compared if len(line["together"]) > 2]
    worst = f" Beside a sweep's best, of {len(swept)}: {min(swept):.2f} at worst." if swept else ""
    return f"{_HEAD}{''.join(rows)}\n{said} {mean:.2f}.{worst}\n"


def _row(line: dict[str, Any]) -> str:
    case, (default, found, *_), sweep = line["case"], line["together"], line.get("sweep")
    overlap = "" if line["overlap"] is None else f"{line['overlap']:.2f}"
    of_best = ""
    if sweep is not None:
        of_best = f"{_of_best(line):.2f} ({sweep['of']})" if sweep["finished"] else "unfinished"
    times = (f"{x[phase]:.2f}" for phase in ("forward", "training") for x in (default, found))
    cells = (
        f"`{case['spec']}`",
        case["length"],
        overlap,
        *times,
        f"{_gain(line):.2f}",
        of_best,
        f"{line['seconds']:.0f} s",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def _gain(line: dict[str, Any]) -> float:
    default, found = (Timing(totals) for totals in line["together"][:2])
    return gain(default, found)


def _of_best(line: dict[str, Any]) -> float:
    _, found, swept = (Timing(totals) for totals in line["together"])
    return gain(swept, found)


def inserted(text: str, table: str) -> str:
    """``text`` with ``table`` between the markers. Raises ValueError if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN.strip()} ... {END.strip()} to put the table between")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    raise SystemExit(main())
