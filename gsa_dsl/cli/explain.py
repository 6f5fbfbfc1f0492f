"""``gsa explain``: what a spec costs, any stage of its compilation, or what a diagnostic's code means."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import read_source
from gsa_dsl.cli.options import add_dialect, add_json, add_params, add_shape, positive
from gsa_dsl.cli.output import print_json
from gsa_dsl.cli.session import check_file, generated_for, plan_for, shape_of
from gsa_dsl.cli.status import GOOD, Misuse
from gsa_dsl.diagnostics.pages import CODE, page, page_text

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers

_EPILOG = """\
examples:
  gsa explain gsa.gsa                                  the cost of every construct, and of dense attention
  gsa explain gsa.gsa --L 32768 --heads 64 --kv-heads 4
  gsa explain gsa.gsa -p k_max=1024                    the cost with another budget
  gsa explain gsa.gsa --stage typed                    every expression with its proven range
  gsa explain gsa.gsa --stage ir                       the maths of the kernels, derivatives included
  gsa explain gsa.gsa --stage source | less            the generated module
  gsa explain GSA064                                   what a diagnostic means, with an example and its fix

stages, in order:
  ast     the syntax tree
  typed   the checked tree: names resolved, parameters bound, ranges proved
  cost    what every construct costs (default)
  ir      the scalar maths of the kernels and its derivatives
  plan    shape, tile sizes and launches of the kernels; on a GPU, the tuned ones too
  source  the generated module
"""


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "explain",
        help="show what a spec costs, a stage of its compilation, or what a diagnostic means",
        description="Show what a spec costs, any stage of its compilation, or what the code of a diagnostic means.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a spec, - for standard input, or a diagnostic's code")
    parser.add_argument("--stage", choices=tuple(_STAGES), default="cost", help="what to show (default: %(default)s)")
    add_shape(parser, heads=32, kv_heads=8, head_dim=128)
    parser.add_argument(
        "--L", dest="length", metavar="N", type=positive, default=131072, help="sequence length (default: %(default)s)"
    )
    parser.add_argument("--B", dest="batch", metavar="N", type=positive, default=1, help="batch (default: %(default)s)")
    add_params(parser)
    add_dialect(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the stage asked for, or the page of a code."""
    if CODE.fullmatch(arguments.file) and not Path(arguments.file).exists():
        _code(arguments.file.upper(), arguments)
    else:
        _STAGES[arguments.stage](arguments)
    return GOOD


def _code(code: str, arguments: argparse.Namespace) -> None:
    from gsa_dsl.diagnostics.codes import CODES

    try:
        text = page_text(code)
    except KeyError:
        raise Misuse(f"there is no diagnostic {code}; the codes are {min(CODES)} to {max(CODES)}") from None
    if arguments.json:
        print_json({"ok": True, "code": code, "title": CODES[code], "page": page(code)})
    else:
        print(text, end="")


def _ast(arguments: argparse.Namespace) -> None:
    from gsa_dsl.frontend.parser import parse

    _show_tree(parse(read_source(arguments.file)), arguments)


def _typed(arguments: argparse.Namespace) -> None:
    _show_tree(check_file(arguments), arguments)


def _show_tree(tree: object, arguments: argparse.Namespace) -> None:
    from gsa_dsl.cli.tree import tree_json, tree_text

    if arguments.json:
        print_json({"ok": True, "stage": arguments.stage, "tree": tree_json(tree)})
    else:
        print(tree_text(tree))


def _cost(arguments: argparse.Namespace) -> None:
    from gsa_dsl.cli.cost_table import Sizes, cost_json, print_cost
    from gsa_dsl.sema.symbols import Undecidable

    spec = check_file(arguments)
    sizes = Sizes(arguments.length, *shape_of(arguments), arguments.batch)
    try:
        if arguments.json:
            print_json({"ok": True, "stage": "cost", **cost_json(spec, sizes)})
        else:
            print_cost(spec, sizes)
    except Undecidable as error:
        raise Misuse(f"the cost of {arguments.file} has no formula: {error}") from error


def _ir(arguments: argparse.Namespace) -> None:
    from gsa_dsl.cli.stages import ir_sections

    sections = ir_sections(plan_for(check_file(arguments), arguments))
    if arguments.json:
        print_json({"ok": True, "stage": "ir", "sections": {title: dict(lines) for title, lines in sections}})
        return
    for title, lines in sections:
        width = max(len(name) for name, _ in lines)
        print(title, *(f"  {name.ljust(width)} = {expression}" for name, expression in lines), sep="\n")


def _plan(arguments: argparse.Namespace) -> None:
    from gsa_dsl.cli.stages import plan_facts, tuned_facts
    from gsa_dsl.cli.tree import tree_json, tree_text

    spec = check_file(arguments)
    plan = plan_for(spec, arguments)
    facts = [*plan_facts(plan), *tuned_facts(spec.source.text, dict(arguments.params), plan)]
    if arguments.json:
        print_json({"ok": True, "stage": "plan", "plan": {name: tree_json(value) for name, value in facts}})
        return
    for name, value in facts:
        print(tree_text(value, name))


def _source(arguments: argparse.Namespace) -> None:
    text = generated_for(check_file(arguments), arguments)
    if arguments.json:
        print_json({"ok": True, "stage": "source", "source": text})
    else:
        print(text, end="")


_STAGES = {"ast": _ast, "typed": _typed, "cost": _cost, "ir": _ir, "plan": _plan, "source": _source}
