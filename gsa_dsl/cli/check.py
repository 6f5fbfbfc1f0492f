"""``gsa check``: say everything that is wrong with some specs, and nothing else."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import read_source
from gsa_dsl.cli.options import add_json, add_params
from gsa_dsl.cli.output import Json, diagnostics_json, print_json, report_spec_error
from gsa_dsl.cli.session import check_source
from gsa_dsl.cli.status import GOOD, WRONG
from gsa_dsl.diagnostics import SpecError

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers

_EPILOG = """\
examples:
  gsa check gsa.gsa
  gsa check examples/*.gsa
  gsa check gsa.gsa -p k_base=512        with another value of a parameter
  gsa check --json gsa.gsa               for an editor: codes, spans, reasons and fixes
  gsa check - < gsa.gsa                  from standard input
"""


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "check",
        help="report every mistake in specs",
        description="Parse and check specs: syntax, types, causality, value ranges, promised bounds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a spec, or - for standard input")
    add_params(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check every file; wrong if any of them is."""
    results: list[Json] = []
    good = True
    for name in arguments.files:
        try:
            spec = check_source(read_source(name), arguments)
        except SpecError as error:
            good = False
            results.append({"file": error.source.name, "ok": False, "diagnostics": diagnostics_json(error)})
            if not arguments.json:
                report_spec_error(error, as_json=False)
        else:
            results.append({"file": spec.source.name, "ok": True, "name": spec.name, "diagnostics": []})
            if not arguments.json:
                print(f"{spec.source.name}: attention {spec.name} is good")
    if arguments.json:
        print_json({"ok": good, "files": results})
    return GOOD if good else WRONG
