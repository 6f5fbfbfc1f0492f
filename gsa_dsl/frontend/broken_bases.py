"""Why what a spec extends cannot be had, as an error at the name that was written."""

from __future__ import annotations

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Diagnostic, SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast


def unreadable(source: Source, base: ast.Name, why: LookupError) -> SpecError:
    """No spec of the name ``base`` can be read, for the reason and with the fix that ``why`` holds."""
    reason, fix = why.args
    message = f"the spec '{base.id}' cannot be extended"
    return SpecError(source, (Diagnostic(codes.NO_BASE, message, base.span, reason, fix),))


def endless(source: Source, base: ast.Name, above: tuple[str, ...], most: int) -> SpecError:
    """``base`` is one of the specs ``above``, which extend one another down to it, or they are more than ``most``."""
    if base.id in above:
        around = (*above[above.index(base.id) :], base.id)
        message, reason = f"'{base.id}' extends itself", f"it goes round: {' extends '.join(around)}"
    else:
        message, reason = "too many specs extend one another", f"at most {most} may; this chain goes on"
    fix = "write the clauses out instead of extending"
    return SpecError(source, (Diagnostic(codes.ENDLESS_EXTENDS, message, base.span, reason, fix),))
