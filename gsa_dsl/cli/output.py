"""Printing: tables, JSON and diagnostics; rich on a terminal, plain text everywhere else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gsa_dsl.diagnostics import SpecError
from gsa_dsl.diagnostics.render import render, to_json

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: its heading, and whether it holds numbers, which stand at the right."""

    heading: str
    number: bool = False


def print_table(title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, total: bool = False) -> None:
    """Print a table on standard output; with ``total`` the last row is set apart from the others."""
    lines = [tuple(row) for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(title, columns, lines, total)
        return
    print(title)
    headings = tuple(column.heading for column in columns)
    widths = [max(len(line[i]) for line in (headings, *lines)) for i in range(len(columns))]
    rule = "  ".join("-" * width for width in widths)

    def text(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column.number else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        return "  ".join(cells).rstrip()

    body = [text(line) for line in lines]
    if total:
        body.insert(len(body) - 1, rule)
    print(text(headings), rule, *body, sep="\n")


def _print_rich_table(title: str, columns: Sequence[Column], lines: Sequence[Sequence[str]], total: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.number else "left")
    for number, line in enumerate(lines):
        last = total and number == len(lines) - 1
        if last:
            table.add_section()
        table.add_row(*(Text(cell) for cell in line), style="bold" if last else None)
    Console().print(table)


def print_json(data: Json) -> None:
    """Print ``data`` as one JSON document on standard output."""
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(message: str) -> None:
    """Say on standard error why the command was not carried out."""
    print(f"gsa: error: {message}", file=sys.stderr)


def report_spec_error(error: SpecError, *, as_json: bool) -> None:
    """Show every mistake of a spec: rendered on standard error, or as JSON on standard output."""
    if as_json:
        print_json({"ok": False, "file": error.source.name, "diagnostics": diagnostics_json(error)})
        return
    color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    for diagnostic in error.diagnostics:
        print(render(error.source, diagnostic, color=color), end="\n\n", file=sys.stderr)
    count = len(error.diagnostics)
    print(f"{error.source.name}: {count} mistake{'s' if count != 1 else ''}", file=sys.stderr)


def diagnostics_json(error: SpecError) -> list[Json]:
    """The diagnostics with their spans, for machines; offsets count from 0, lines and columns from 1."""
    return [to_json(error.source, diagnostic) for diagnostic in error.diagnostics]
