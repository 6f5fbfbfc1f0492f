"""The command line's reference as Markdown, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gsa_dsl.cli import make_parser

_INTRODUCTION = """\
# Command line reference

Every command with its options, as `gsa COMMAND --help` shows them; [The command line](cli.md) shows them at work.
"""


def reference() -> str:
    """The page: a section for each command."""
    return _INTRODUCTION + "".join(_section(name, parser) for name, parser in _commands(make_parser()))


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    positional = [f"{action.metavar}{' ...' if action.nargs == '+' else ''}" for action in actions if _is_plain(action)]
    options = ["[options]"] if not all(map(_is_plain, actions)) else []
    usage = " ".join(["gsa", name, *options, *positional])
    text = f"\n## gsa {name}\n\n{parser.description}\n\n```text\n{usage}\n```\n"
    if actions:
        rows = "".join(f"| {_spelling(action)} | {_help(action)} |\n" for action in actions)
        text += f"\n| argument | |\n|---|---|\n{rows}"
    return text + (f"\n```text\n{parser.epilog.rstrip()}\n```\n" if parser.epilog else "")


def _is_plain(action: argparse.Action) -> bool:
    return not action.option_strings


def _spelling(action: argparse.Action) -> str:
    if _is_plain(action):
        return f"`{action.metavar}`"
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
    takes = f" {value}" if action.nargs != 0 and value else ""
    return ", ".join(f"`{flag}{takes}`" for flag in action.option_strings)


def _help(action: argparse.Action) -> str:
    said = (action.help or "").replace("%(default)s", str(action.default))
    return said.replace("|", "\\|")
