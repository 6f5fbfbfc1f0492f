"""From a failure to the smallest one like it: fewer positions and heads, fewer clauses, simpler expressions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.format import format_source
from gsa_dsl.frontend.parser import parse
from gsa_dsl.frontend.pieces import children
from gsa_dsl.testing.failing import Failing
from gsa_dsl.testing.report import VerifyReport
from gsa_dsl.testing.specs import load_spec

_LENGTHS = (1, 2, 3, 4, 5, 7, 9, 13, 17, 21, 25, 33, 41, 49, 65, 97, 129, 257)
_EXPRESSIONS = (ast.Number, ast.Name, ast.Index, ast.Lookup, ast.Call, ast.Reduce, ast.Dot, ast.Unary, ast.Binary)

Progress = Callable[[str], None]


def shrink(
    failing: Failing, *, seconds: float = 60.0, progress: Progress | None = None
) -> tuple[Failing, VerifyReport]:
    """The simplest failure found in ``seconds``, and the report on it.

    What is left fails in one of the quantities that ``failing`` fails in. Raises ValueError if that does not fail.
    """
    report = failing.verify()
    if report.ok:
        raise ValueError(f"{failing.case} does not fail")
    wanted = _wrong(report)
    until = time.monotonic() + seconds
    smaller = True
    while smaller and time.monotonic() < until:
        smaller = False
        for candidate in _candidates(failing):
            if time.monotonic() >= until:
                break
            found = _fails(candidate, wanted)
            if found is not None:
                failing, report, smaller = candidate, found, True
                if progress is not None:
                    progress(str(failing.case))
                break
    return replace(failing, text=format_source(Source("<string>", failing.text))), report


def _wrong(report: VerifyReport) -> set[str]:
    """The quantities that are wrong; calls that raise are told apart by what they raise."""
    return {
        f"call {row.note.split(':')[0]}" if row.quantity == "call" else row.quantity.removesuffix(" (given)")
        for row in report.failures
    }


def _fails(candidate: Failing, wanted: set[str]) -> VerifyReport | None:
    """The report on a candidate that fails as wanted; None for one that does not, or is no spec."""
    try:
        load_spec(candidate.text)
        report = candidate.verify()
    except (SpecError, ValueError):
        return None
    return report if _wrong(report) & wanted else None


def _candidates(failing: Failing) -> Iterator[Failing]:
    """Simpler ones, those first that make the next ones quicker to try."""
    yield from _smaller_cases(failing)
    for text in _simpler_texts(failing.text):
        yield replace(failing, text=text)
    yield from _shorter(failing)


def _smaller_cases(failing: Failing) -> Iterator[Failing]:
    case = failing.case
    if failing.strided:
        yield replace(failing, strided=False)
    if case.batch > 1:
        yield replace(failing, case=replace(case, batch=1))
    for length in _LENGTHS:
        if length < case.length:
            yield replace(failing, case=replace(case, length=length))
    if case.pattern != "normal":
        yield replace(failing, case=replace(case, pattern="normal"))
    for heads, kv_heads in ((1, 1), (2, 1), (2, 2)):
        if (heads, kv_heads) < (case.heads, case.kv_heads) and heads <= case.heads and kv_heads <= case.kv_heads:
            yield replace(failing, case=replace(case, heads=heads, kv_heads=kv_heads))
    if case.value_dim != case.head_dim:
        yield replace(failing, case=replace(case, value_dim=case.head_dim))
    if case.head_dim > 16:
        yield replace(failing, case=replace(case, head_dim=16, value_dim=min(case.value_dim, 16)))


def _shorter(failing: Failing) -> Iterator[Failing]:
    """One position less: the last step, once nothing else helps."""
    if failing.case.length > 1:
        yield replace(failing, case=replace(failing.case, length=failing.case.length - 1))


def _simpler_texts(text: str) -> Iterator[str]:
    """``text`` without a clause, with part of an expression for all of it, with smaller numbers."""
    tree = parse(Source("<string>", text))

    def without(span: tuple[int, int], instead: str = "") -> str:
        return text[: span[0]] + instead + text[span[1] :]

    for clause in tree.clauses:
        yield without((clause.span.start, clause.span.end))
    budgets = [clause for clause in tree.clauses if isinstance(clause, ast.Budget)]
    for select in (clause for clause in tree.clauses if isinstance(clause, ast.Select)):
        for budget in budgets:
            cut = text[: select.count.span.start] + "3" + text[select.count.span.end :]
            yield cut.replace(text[budget.span.start : budget.span.end], "")
    for node in _expressions(tree):
        for part in _expressions(node):
            if part is not node:
                inner = text[part.span.start : part.span.end]
                yield without((node.span.start, node.span.end), inner)
                yield without((node.span.start, node.span.end), f"({inner})")
    for match in re.finditer(r"(?<![\w.])\d+(\.\d+)?(?![\w.])", text):
        value = float(match[0])
        for less in dict.fromkeys((1, int(value) // 2)):
            if 0 < less < value:
                yield without(match.span(), str(less))


def _expressions(node: ast.Node) -> Iterator[ast.Node]:
    """``node``, if it is an expression, and those within, the outermost first."""
    if isinstance(node, _EXPRESSIONS):
        yield node
    for child in children(node):
        yield from _expressions(child)
