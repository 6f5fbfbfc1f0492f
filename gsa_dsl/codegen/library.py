"""Plain Triton helpers of ``templates/lib``: a generated module carries a copy of those it calls, and no others."""

from __future__ import annotations

import ast
import functools

from gsa_dsl.paths import templates_dir


@functools.cache
def functions() -> dict[str, str]:
    """Every helper's source by name, decorator included, in the order of the files."""
    found: dict[str, str] = {}
    for path in sorted((templates_dir() / "lib").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                start = min(decorator.lineno for decorator in node.decorator_list)
                found[node.name] = "\n".join(lines[start - 1 : node.end_lineno])
    return found


def needed(text: str) -> list[str]:
    """The sources of the helpers that ``text`` calls, and of those they call, in the order of the files.

    Raises SyntaxError if ``text`` is no Python.
    """
    sources = functions()
    found: set[str] = set()
    pending = _called(text) & sources.keys()
    while pending:
        found |= pending
        pending = {call for name in pending for call in _called(sources[name]) & sources.keys()} - found
    return [source for name, source in sources.items() if name in found]


def _called(text: str) -> set[str]:
    """The names that are called, and those handed on to be: ``tl.reduce(x, 1, maximum)``."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {name.id for call in calls for name in (call.func, *call.args) if isinstance(name, ast.Name)}
