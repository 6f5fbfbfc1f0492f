"""``gsa compile``: write the generated kernels as a Python file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import write_file
from gsa_dsl.cli.options import add_dialect, add_json, add_params, add_shape
from gsa_dsl.cli.output import print_json
from gsa_dsl.cli.session import check_file, generated_for, shape_of
from gsa_dsl.cli.status import GOOD

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers

_EPILOG = """\
examples:
  gsa compile gsa.gsa                                  as gsa.py; prints the file's path
  gsa compile gsa.gsa -o build/                        as build/gsa.py
  gsa compile gsa.gsa --heads 64 --kv-heads 4 --head-dim 128 -p k_base=1024 -o build/
  gsa compile gsa.gsa --json                           path and shape, for machines

The file runs beside torch and triton alone; gsa_dsl is not needed where it is used.
"""


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "compile",
        help="write the generated kernels as a Python file",
        description="Compile a spec for one shape of attention and write the generated module.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a spec, or - for standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="write DIR/NAME.py, NAME being the spec's own name (default: the current folder)",
    )
    add_shape(parser, heads=32, kv_heads=8, head_dim=128)
    add_params(parser)
    add_dialect(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Generate, write, and say where."""
    spec = check_file(arguments)
    path: Path = arguments.output / f"{spec.name}.py"
    write_file(path, generated_for(spec, arguments))
    heads, kv_heads, head_dim, value_dim = shape_of(arguments)
    if arguments.json:
        print_json(
            {
                "ok": True,
                "name": spec.name,
                "path": str(path),
                "backend": arguments.backend,
                "heads": heads,
                "kv_heads": kv_heads,
                "head_dim": head_dim,
                "value_dim": value_dim,
                "params": dict(spec.params),
            }
        )
    else:
        print(path)
    return GOOD
