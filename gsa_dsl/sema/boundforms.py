"""What a ``bound`` clause may say, before anything is proved about it."""

from __future__ import annotations

from collections.abc import Iterable

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.frontend import ast
from gsa_dsl.sema.clauses import known_word
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.names import SHAPE_SYMBOLS, near

QUANTITIES = ("flops", "bytes", "memory", "selected")
FUNCTIONS = {"min": 2, "max": 2, "sqrt": 1, "log": 1}


def check_form(bound: ast.Bound, params: Iterable[str], mistakes: Mistakes) -> None:
    """Tell an unknown quantity or name, and anything in the bound that no proof could compare with a cost."""
    known = known_word(bound.quantity, QUANTITIES, "quantity", mistakes)
    if known and not bound.asymptotic and bound.quantity.id != "selected":
        text = mistakes.text(bound.body.span)
        mistakes.add(
            codes.BOUND_NEEDS_O,
            f"a bound on {bound.quantity.id} holds up to a constant factor",
            bound.body.span,
            reason="the schedule that the tuner picks for a GPU changes the constant, never the growth",
            fix=f"write 'O({text})'",
        )
    _check(bound.body, {*params, *SHAPE_SYMBOLS}, bound.asymptotic, mistakes)


def _check(expr: ast.Expr, names: set[str], asymptotic: bool, mistakes: Mistakes) -> None:
    match expr:
        case ast.Number():
            return
        case ast.Name(id=name) if name in names:
            return
        case ast.Name(id=name):
            mistakes.add(
                codes.UNKNOWN_NAME,
                f"unknown name '{name}'",
                expr.span,
                reason="a bound sees parameters and the shape: L, B, H, Hkv, G, D, Dv, J and dI",
                fix=near(name, names, "declare it as a parameter"),
            )
            return
        case ast.Binary(op="^", left=left, right=ast.Number()):
            _check(left, names, asymptotic, mistakes)
            return
        case ast.Binary(op="/", right=right) if asymptotic and not _one_term(right):
            mistakes.add(
                codes.BOUND_FORM,
                f"O( ) cannot divide by the sum '{mistakes.text(right.span)}'",
                right.span,
                reason="how fast the quotient grows depends on which of its terms is largest",
                fix="divide by one product",
            )
            return
        case ast.Binary(op=op, left=left, right=right) if op in ("+", "*", "/") or (op == "-" and not asymptotic):
            _check(left, names, asymptotic, mistakes)
            _check(right, names, asymptotic, mistakes)
            return
        case ast.Call(func=func, args=args, keywords=()) if FUNCTIONS.get(func.id) == len(args):
            for arg in args:
                _check(arg, names, asymptotic, mistakes)
            return
    mistakes.add(
        codes.BOUND_FORM,
        f"'{mistakes.text(expr.span)}' cannot stand in a bound",
        expr.span,
        reason="a bound is made of names and numbers with +, *, /, ^ and a constant exponent, min, max, sqrt and log"
        + ("; in O( ) the largest term decides, so nothing is subtracted" if asymptotic else ""),
        fix="leave the smaller term out"
        if isinstance(expr, ast.Binary) and expr.op == "-"
        else "write products of names and numbers, such as 'L^2 * H * D'",
    )


def _one_term(expr: ast.Expr) -> bool:
    match expr:
        case ast.Number() | ast.Name():
            return True
        case ast.Binary(op="*" | "/", left=left, right=right):
            return _one_term(left) and _one_term(right)
        case ast.Binary(op="^", left=left):
            return _one_term(left)
    return False
