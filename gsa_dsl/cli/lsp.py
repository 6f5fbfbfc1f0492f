"""``gsa lsp``: the language server that editors start."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gsa_dsl.cli.status import GOOD, Misuse

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers

_EPILOG = """\
The server speaks the Language Server Protocol on standard input and output: mistakes as they are typed, hover with
types, ranges and costs, completion, definitions and formatting. editors/vscode of the repository starts it for VS Code;
in Neovim: vim.lsp.start({name = 'gsa', cmd = {'gsa', 'lsp'}}). It needs pygls: pip install 'gsa-dsl[lsp]'.
"""


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "lsp",
        help="run the language server, for editors",
        description="Run the language server on standard input and output.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, json=False)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the editor says goodbye."""
    if find_spec("pygls") is None:
        raise Misuse("the language server needs pygls: pip install 'gsa-dsl[lsp]'")
    from gsa_dsl.lsp.server import make_server

    make_server().start_io()
    return GOOD
