"""Named arguments of ``ema(...)`` and ``kl(...)``: constants with defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema.names import listed, near

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gsa_dsl.sema.constants import Number
    from gsa_dsl.sema.types import Typer


def keyword_numbers(
    typer: Typer, function: str, keywords: tuple[ast.Keyword, ...], defaults: Mapping[str, Number]
) -> dict[str, Number]:
    """The values of ``defaults`` with those of ``keywords``; a wrong keyword is told and its default kept."""
    given: dict[str, Number] = {}
    for keyword in keywords:
        name = keyword.name.id
        if name not in defaults:
            typer.mistakes.add(
                codes.BAD_KEYWORD,
                f"'{function}' has no argument '{name}'",
                keyword.name.span,
                fix=near(name, defaults, f"it takes {listed(defaults, 'and')}"),
            )
            continue
        if name in given:
            typer.mistakes.add(
                codes.BAD_KEYWORD, f"'{name}' is given twice", keyword.name.span, fix="leave one of them out"
            )
            continue
        value = typer.constant(keyword.value, f"'{name}'")
        given[name] = defaults[name] if value is None else value
    return {**defaults, **given}


def no_keywords(typer: Typer, node: ast.Call) -> None:
    """A function that takes positions only."""
    for keyword in node.keywords:
        typer.mistakes.add(
            codes.BAD_KEYWORD,
            f"'{node.func.id}' takes no named arguments",
            keyword.name.span,
            fix="leave out the name",
        )
