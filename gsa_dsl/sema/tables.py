"""Learned tables: ``bias[h, PLACE]``, a number a query head and distance, with a size that the place's range proves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import ast
from gsa_dsl.sema import typed
from gsa_dsl.sema.contexts import place_context
from gsa_dsl.sema.interval import REALS, Interval
from gsa_dsl.sema.names import INDICES
from gsa_dsl.sema.trace import origins
from gsa_dsl.sema.typed import TypedExpr, same

if TYPE_CHECKING:
    from gsa_dsl.sema.types import Typer

LARGEST = 2**24
"""The most places a table may have; also where a float32 distance stops being exact."""

_USAGE = "bias[h, min(distance, 511)]"


def lookup(typer: Typer, node: ast.Lookup) -> TypedExpr | None:
    """The number that ``node`` reads, its table noted in ``typer.tables``; None after telling what is wrong."""
    context, mistakes = typer.context, typer.mistakes
    text = mistakes.text(node.span)
    if context.place is None:
        mistakes.add(
            codes.NOT_VISIBLE,
            f"{context.noun} cannot see '{text}'",
            node.span,
            reason=context.sees,
            fix=f"use {context.offers}",
        )
        return None
    if len(node.places) != 2 or not _is_index(node.places[0], "h"):
        right = f"bias[h, {mistakes.text(node.places[1].span)}]" if len(node.places) == 2 else _USAGE
        mistakes.add(
            codes.SIGNATURE,
            f"'{text}' should be '{right}'",
            node.span,
            reason="the table holds numbers for each query head, one a place",
            fix=f"write '{right}'",
        )
        return None
    place = _place(typer, node.places[1])
    if place is None or not _usable(typer, place):
        return None
    table = typed.Table(node.span, place, _size(place.range))
    for other in typer.tables:
        if not same(other.place, place):
            mistakes.add(
                codes.SECOND_TABLE,
                "the table is read at two different places",
                node.span,
                reason="a logit has one table, and its numbers one meaning",
                fix=f"write '{mistakes.text(other.span)}' here too",
                labels=(Label(other.span, "and here at another place"),),
            )
            return None
    typer.tables.append(table)
    return typed.Leaf(node.span, frozenset("tsh"), REALS, "bias")


def _place(typer: Typer, expr: ast.Expr) -> TypedExpr | None:
    """The place, over the distance alone."""
    context, mistakes = typer.context, typer.mistakes
    assert context.place is not None
    if isinstance(expr, ast.Name) and expr.id in INDICES:
        mistakes.add(
            codes.TABLE_PLACE,
            f"a table cannot be read at '{expr.id}', {INDICES[expr.id]}",
            expr.span,
            reason="it would need a number for every position, and a longer sequence a larger table",
            fix=f"read it at a distance: '{_USAGE}'",
        )
        return None
    place = type(typer)(place_context(context.constants, context.place), mistakes).number(expr)
    if place is None or place.free:
        return place
    mistakes.add(
        codes.TABLE_PLACE,
        f"the place '{mistakes.text(expr.span)}' is the same for every key",
        expr.span,
        reason="what is added to every key of a row leaves its softmax as it is",
        fix=f"read the table at a distance: '{_USAGE}'",
    )
    return None


def _usable(typer: Typer, place: TypedExpr) -> bool:
    """Whether the place lies in a table of finite size."""
    text, interval = typer.mistakes.text(place.span), place.range
    if not interval.bounded or interval.low < 0:
        typer.mistakes.add(
            codes.UNBOUNDED_TABLE,
            "the place in the table is not bounded" if not interval.bounded else "the place in the table may be < 0",
            place.span,
            reason=f"it lies in {interval}; the table has a number for each place from 0 to the largest",
            fix=f"write 'clamp({text}, 0, 511)'" if interval.low < 0 else f"write 'min({text}, 511)'",
            labels=tuple(label for label in origins(place) if label.span != place.span),
        )
        return False
    if _size(interval) > LARGEST:
        typer.mistakes.add(
            codes.BAD_SIZE,
            f"a table of {_size(interval)} places",
            place.span,
            reason="it has at most 2^24, as distances are exact in float32 up to there",
            fix=f"write 'min({text}, 511)'",
        )
        return False
    return True


def _size(interval: Interval) -> int:
    """How many places there are up to the range's end, which an open end does not reach."""
    whole = math.floor(interval.high)
    return max(whole if whole == interval.high and not interval.high_closed else whole + 1, 1)


def _is_index(expr: ast.Expr, index: str) -> bool:
    return isinstance(expr, ast.Name) and expr.id == index
