"""``require EXPR``: what the values of the parameters must keep to."""

from __future__ import annotations

from collections.abc import Iterator

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import ast
from gsa_dsl.sema.constants import constant
from gsa_dsl.sema.contexts import size_context
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.parts import Params
from gsa_dsl.sema.typed import Const, walk
from gsa_dsl.sema.types import Typer


def meet(
    clauses: tuple[ast.Require, ...],
    declared: tuple[ast.Param, ...],
    params: Params,
    known: bool,
    mistakes: Mistakes,
) -> bool:
    """Whether every requirement holds for ``params``; tells those that do not, once all values are ``known``."""
    met = [_holds(clause, declared, params, known, mistakes) for clause in clauses]
    return all(met)


def _holds(
    clause: ast.Require, declared: tuple[ast.Param, ...], params: Params, known: bool, mistakes: Mistakes
) -> bool:
    context = size_context(params, "a requirement")
    condition = Typer(context, mistakes).condition(clause.condition, "a requirement says how values compare")
    if condition is None or not known or constant(condition):
        return True
    read = dict.fromkeys(node.name for node in walk(condition) if isinstance(node, Const) and node.name)
    values = ", ".join(f"{name} = {params[name]:g}" for name in read)
    mistakes.add(
        codes.UNMET_REQUIREMENT,
        f"'{mistakes.text(clause.condition.span)}' does not hold",
        clause.span,
        reason=f"here {values}" if values else "it holds for no values",
        fix="choose other values" if values else "leave it out",
        labels=tuple(_labels(read, declared)),
    )
    return False


def _labels(names: dict[str, None], declared: tuple[ast.Param, ...]) -> Iterator[Label]:
    for param in declared:
        if param.name.id in names:
            yield Label(param.span, f"'{param.name.id}' is declared here")
