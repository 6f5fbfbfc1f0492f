"""Plain Triton helpers of ``templates/lib``: a generated module carries a copy of those it calls, and no others."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable

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


def called(text: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that ``text`` calls."""
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return [name for name in names if name in calls]
