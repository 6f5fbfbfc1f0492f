"""How many scalar operations an expression takes: each distinct calculation once a value of what it varies with.

One operation of :mod:`gsa_dsl.ops` counts as one, a dot product of n features as 2 n, a reduction over J heads as J.
What does not vary with a key is computed once a query, what is constant costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from gsa_dsl.sema import typed
from gsa_dsl.sema.algebra import ZERO, Expr
from gsa_dsl.sema.symbols import DI
from gsa_dsl.sema.typed import TypedExpr

Times = Callable[[frozenset[str], bool], Expr]
"""How often something is computed that varies with these index variables, and with the batch or not."""


def operations(expr: TypedExpr, times: Times, width: Expr = DI) -> Expr:
    """The operations of ``expr``, whose vectors have ``width`` features; row statistics are counted apart
    (:func:`statistics`).
    """
    total = ZERO
    for node in distinct(expr):
        batched = varies_with_batch(node)
        match node:
            case typed.Apply() if not _known_at_compile_time(node):
                total += times(node.free, batched)
            case typed.Dot():
                total += 2 * width * times(node.free, batched)
            case typed.Reduce(op=op):
                total += times(node.free | {"j"}, batched)
                if op == "mean":
                    total += times(node.free, batched)
    return total


def _known_at_compile_time(expr: TypedExpr) -> bool:
    return not expr.free and not any(isinstance(node, typed.Ema) for node in typed.walk(expr))


def distinct(expr: TypedExpr) -> tuple[TypedExpr, ...]:
    """Every different calculation in ``expr``, in the order of the text."""
    return tuple({typed.key(node): node for node in typed.walk(expr)}.values())


def statistics(expr: TypedExpr) -> tuple[str, ...]:
    """The row statistics ``expr`` reads, each once; one of two levels twice."""
    read = dict.fromkeys((node.op, node.level) for node in typed.walk(expr) if isinstance(node, typed.Statistic))
    return tuple(op for op, _ in read)


def varies_with_batch(expr: TypedExpr) -> bool:
    """Whether ``expr`` differs from sequence to sequence: all but parameters, ``b[j]`` and running means do."""
    match expr:
        case typed.Leaf(name=name):
            return name != "b"
        case typed.Dot() | typed.Statistic():
            return True
        case typed.Ema():
            return False
    return any(varies_with_batch(child) for child in typed.children(expr))
