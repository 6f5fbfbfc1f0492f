"""``gsa fmt``: lay specs out in the one canonical way."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import read_alone, rewrite_file
from gsa_dsl.cli.options import add_json
from gsa_dsl.cli.output import Json, diagnostics_json, print_error, print_json, report_spec_error
from gsa_dsl.cli.status import GOOD, WRONG
from gsa_dsl.diagnostics import SpecError

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers
    from gsa_dsl.diagnostics import Source

_EPILOG = """\
examples:
  gsa fmt gsa.gsa                rewrite the file; prints its name if it changed
  gsa fmt examples/*.gsa
  gsa fmt --check *.gsa          change nothing; exit status 1 if a file is not formatted
  gsa fmt --diff gsa.gsa         show what would change
  gsa fmt - < gsa.gsa            from standard input to standard output

Comments stay, and so does the meaning: a file is only written if its new text reads back as the same spec.
"""


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "fmt",
        help="lay specs out in the canonical way",
        description="Rewrite specs in the canonical layout: a clause a line, two spaces a level, columns lined up.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a spec, or - for standard input")
    parser.add_argument("--check", action="store_true", help="write nothing; wrong if a file is not formatted")
    parser.add_argument("--diff", action="store_true", help="write nothing; print what would change")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Format every file; wrong if one does not parse, or with ``--check`` if one is not formatted."""
    results = [_format(name, arguments) for name in arguments.files]
    good = all(result["ok"] and not (arguments.check and result["changed"]) for result in results)
    if arguments.json:
        print_json({"ok": good, "files": results})
    return GOOD if good else WRONG


def _format(name: str, arguments: argparse.Namespace) -> Json:
    """Format one file as asked for, say so, and return what is to be known about it."""
    from gsa_dsl.frontend.format import FormattingError, format_source

    try:
        source = read_alone(name)
        text = format_source(source)
    except SpecError as error:
        if not arguments.json:
            report_spec_error(error, as_json=False)
        return {"file": error.source.name, "ok": False, "diagnostics": diagnostics_json(error)}
    except FormattingError as error:
        print_error(str(error))
        return {"file": name, "ok": False, "diagnostics": []}
    changed = text != source.text
    result: Json = {"file": source.name, "ok": True, "changed": changed, "diagnostics": []}
    if arguments.check or arguments.diff:
        if changed and not arguments.json:
            print(_diff(source, text) if arguments.diff else f"{source.name}: not formatted\n", end="")
    elif name == "-":
        if arguments.json:
            return {**result, "text": text}
        sys.stdout.write(text)
    elif changed:
        rewrite_file(Path(name), text)
        if not arguments.json:
            print(name)
    return result


def _diff(source: Source, text: str) -> str:
    """What would change, as a unified diff."""
    old, new = (each.splitlines(keepends=True) for each in (source.text, text))
    lines = difflib.unified_diff(old, new, source.name, f"{source.name} (formatted)")
    # A last line without an end would run into the next one.
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
