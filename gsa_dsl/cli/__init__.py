"""The command ``gsa``: write, check, explain, compile, verify and tune specs from a terminal or a script."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from gsa_dsl import __version__
from gsa_dsl.cli import bench, check, compile, explain, fmt, lsp, new, tune, verify
from gsa_dsl.cli.output import print_error, report_spec_error
from gsa_dsl.cli.status import MISUSE, WRONG, Misuse
from gsa_dsl.diagnostics import SpecError

__all__ = ["main", "make_parser"]

_EPILOG = """\
examples:
  gsa new my_attention                          a spec to start from, as my_attention.gsa
  gsa check examples/*.gsa                      every mistake, with its place and its fix
  gsa fmt examples/*.gsa                        lay them out in the canonical way
  gsa explain examples/gsa.gsa --L 131072       what the attention costs at that length
  gsa compile examples/gsa.gsa -o build/        write the kernels as one Python file
  gsa verify examples/gsa.gsa -p k_base=32 -p k_min=8 -p k_max=64
  gsa tune examples/gsa.gsa --length 32768      the fastest tile sizes on this GPU
  gsa bench examples/gsa.gsa --lengths 32768    time and memory beside SDPA and FlexAttention

exit status:
  0  all is well
  1  a spec is wrong, or its result is; the reasons are on standard error
  2  the command was not used as it can be: an unknown flag, a missing file
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (the process's own unless given) and return the exit status 0, 1 or 2."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    arguments.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        status: int = arguments.run(arguments)
        if not sys.stdout.closed:  # as the language server leaves it
            sys.stdout.flush()
    except SpecError as error:
        report_spec_error(error, as_json=arguments.json)
        return WRONG
    except Misuse as error:
        print_error(str(error))
        return MISUSE
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``gsa`` with all its commands."""
    parser = argparse.ArgumentParser(
        prog="gsa",
        description="Compile short specs of sparse gated attention into checked, differentiable Triton kernels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gsa {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (new, check, fmt, explain, compile, verify, tune, bench, lsp):
        command.add(commands)
    return parser
