"""``gsa new``: a spec to start from, with a comment on every clause."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import write_file
from gsa_dsl.cli.options import add_json
from gsa_dsl.cli.output import print_json
from gsa_dsl.cli.status import GOOD, Misuse
from gsa_dsl.diagnostics import Source, SpecError

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers

_EPILOG = """\
examples:
  gsa new long_context                       a commented spec, as long_context.gsa
  gsa new long_context --like dsa            a copy of the example dsa under that name
  gsa new long_context -o specs/long.gsa
  gsa new long_context -o -                  to standard output
"""

_STARTER = """\
# NAME: say here what this attention is for.
#
#   gsa check FILE              every mistake, with its place and its fix
#   gsa explain FILE            what it costs at a length, construct by construct
#   gsa verify FILE             the kernels against a dense float64 reference
attention NAME(k = 1024, recent = 128) {
  causal  # a query sees the keys up to its own position

  # What the attention's output is multiplied by, feature by feature.
  gate output = sigmoid(linear(x))  per element

  # How a query scores a key. q, k, w and b are small projections of the layer's input.
  indexer {
    heads 4
    dim 64
    keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])
  }
  select top k tokens          # the k best keys of each query
  always first 4, last recent  # and these, whatever their scores
  train indexer with kl        # the indexer learns which keys the attention looks at

  # Promises: proved at compile time, or refused.
  bound flops    <= O(L^2 * J * dI + L * (k + recent) * H * D)
  bound selected <= k + recent + 4
  assert score in (0, J)
}
"""


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "new",
        help="write a spec to start from",
        description="Write a commented spec that compiles, or a copy of one of the examples.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the attention's name")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it, or - (default: NAME.gsa)")
    parser.add_argument("--like", metavar="EXAMPLE", help="start from this example: gsa, dsa, gated, dense, ...")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the spec and print its path."""
    name: str = arguments.name
    output: str = arguments.output or f"{name}.gsa"
    text = _like(arguments.like, name) if arguments.like else _STARTER.replace("NAME", name).replace("FILE", output)
    _refuse_name(name, text)
    if output != "-":
        path = Path(output)
        if path.exists() and not arguments.force:
            raise Misuse(f"{path} exists; choose another file with -o, or replace it with --force")
        write_file(path, text)
    if arguments.json:
        print_json({"ok": True, "name": name, "path": None if output == "-" else output, "text": text})
    else:
        print(text if output == "-" else output, end="" if output == "-" else "\n")
    return GOOD


def _like(example: str, name: str) -> str:
    """The text of an example under another name; raises Misuse if there is no such example."""
    from gsa_dsl.diagnostics.suggest import did_you_mean
    from gsa_dsl.frontend.parser import parse
    from gsa_dsl.paths import examples_dir

    paths = {path.stem: path for path in sorted(examples_dir().glob("*.gsa"))}
    if example not in paths:
        hint = did_you_mean(example, paths)
        raise Misuse(f"no example '{example}'{f', {hint}' if hint else ''}; there are {', '.join(paths)}")
    text = paths[example].read_text(encoding="utf-8")
    tree = parse(Source(example, text))
    if tree.extends is not None:
        base = tree.extends.id
        raise Misuse(f"the example '{example}' only says what differs from '{base}'; start with --like {base}")
    span = tree.name.span
    return f"{text[: span.start]}{name}{text[span.end :]}"


def _refuse_name(name: str, text: str) -> None:
    from gsa_dsl.frontend.parser import parse

    try:
        tree = parse(Source(name, text))
    except SpecError:
        tree = None
    if tree is None or tree.name.id != name:
        raise Misuse(f"'{name}' cannot name an attention: a name is a word of letters, digits and _")
