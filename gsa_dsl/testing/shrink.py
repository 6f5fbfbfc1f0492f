"""From a failure to the smallest one like it: fewer positions and heads, fewer clauses, simpler expressions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.format import format_source
from gsa_dsl.frontend.parser import parse
from gsa_dsl.frontend.pieces import children
from gsa_dsl.testing.failing import Failing
from gsa_dsl.testing.report import VerifyReport
from gsa_dsl.testing.specs import load_spec

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
    wanted, until = _wrong(report), time.monotonic() + seconds
    smaller = True
    while smaller:
        smaller = False
        for ways in (_fewer_clauses, _smaller_cases, _simpler_expressions, _smaller_numbers):
            while (found := _first(ways(failing), wanted, until)) is not None:
                (failing, report), smaller = found, True
                if progress is not None:
                    progress(str(failing.case))
    return replace(failing, text=format_source(Source("<string>", failing.text))), report


def _first(candidates: Iterator[Failing], wanted: set[str], until: float) -> tuple[Failing, VerifyReport] | None:
    """The first candidate that fails as wanted, with its report; None if none does before time is up."""
    for candidate in candidates:
        if time.monotonic() >= until:
            return None
        report = _fails(candidate, wanted)
        if report is not None:
            return candidate, report
    return None


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


def _smaller_cases(failing: Failing) -> Iterator[Failing]:
    case = failing.case
    if case.strided:
        yield replace(failing, case=replace(case, strided=False))
    if case.batch > 1:
        yield replace(failing, case=replace(case, batch=1))
    for length in dict.fromkeys((case.length // 4, case.length // 2, case.length * 3 // 4, case.length - 1)):
        if length >= 1:
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


def _fewer_clauses(failing: Failing) -> Iterator[Failing]:
    """Without many clauses, then without each: what chooses keys goes together."""
    tree = parse(Source("<string>", failing.text))
    clauses = tree.clauses
    needed = (ast.Causal, ast.Full)
    choosing = (ast.Indexer, ast.Budget, ast.Select, ast.Train)
    groups: list[Sequence[ast.Node]] = [
        [clause for clause in clauses if not isinstance(clause, needed)],
        [clause for clause in clauses if not isinstance(clause, (*needed, ast.Always))],
        [clause for clause in clauses if not isinstance(clause, (*needed, *choosing))],
        [clause for clause in clauses if isinstance(clause, (*choosing, ast.Logit))],
        [clause for clause in clauses if isinstance(clause, choosing)],
        [clause for clause in clauses if isinstance(clause, ast.Gate)],
        *([clause] for clause in clauses if not isinstance(clause, needed)),
    ]
    for group in groups:
        if group:
            yield replace(failing, text=_edited(failing.text, {clause.span: "" for clause in group}))
    counts = {clause.count.span: "3" for clause in clauses if isinstance(clause, ast.Select)}
    budgets = {clause.span: "" for clause in clauses if isinstance(clause, ast.Budget)}
    if budgets:
        yield replace(failing, text=_edited(failing.text, counts | budgets))
    if tree.params:
        end = tree.name.span.end
        yield replace(failing, text=failing.text[:end] + " " + failing.text[failing.text.index("{", end) :])


def _simpler_expressions(failing: Failing) -> Iterator[Failing]:
    """With part of an expression in place of all of it."""
    text = failing.text
    for node in _expressions(parse(Source("<string>", text))):
        for part in _expressions(node):
            if part is not node:
                inner = text[part.span.start : part.span.end]
                yield replace(failing, text=_edited(text, {node.span: inner}))
                yield replace(failing, text=_edited(text, {node.span: f"({inner})"}))


def _smaller_numbers(failing: Failing) -> Iterator[Failing]:
    for match in re.finditer(r"(?<![\w.])\d+(\.\d+)?(?![\w.])", failing.text):
        value = float(match[0])
        for less in dict.fromkeys((1, int(value) // 2)):
            if 0 < less < value:
                yield replace(failing, text=failing.text[: match.start()] + str(less) + failing.text[match.end() :])


def _edited(text: str, changes: Mapping[Span, str]) -> str:
    """``text`` with something else in place of each span."""
    for span, instead in sorted(changes.items(), key=lambda change: -change[0].start):
        text = text[: span.start] + instead + text[span.end :]
    return text


def _expressions(node: ast.Node) -> Iterator[ast.Node]:
    """``node``, if it is an expression, and those within, the outermost first."""
    if isinstance(node, _EXPRESSIONS):
        yield node
    for child in children(node):
        yield from _expressions(child)
