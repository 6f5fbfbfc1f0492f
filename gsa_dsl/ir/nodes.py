"""Scalar expressions of the IR: immutable and compared by value, so that equal parts are one node to the printer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Const:
    value: float


@dataclass(frozen=True, slots=True)
class Input:
    """A value the surrounding kernel provides under ``name`` (``dot``, ``w``, ``z``, ``acc0``, ``row_var``, ...)."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation of :data:`gsa_dsl.ops.OPS`."""

    op: str
    args: tuple[Scalar, ...]


Scalar = Const | Input | Apply

ZERO = Const(0.0)
ONE = Const(1.0)


def apply(op: str, *args: Scalar) -> Apply:
    return Apply(op, args)


def walk(node: Scalar) -> Iterator[Scalar]:
    """Every node of the expression, operands before the operations that use them."""
    if isinstance(node, Apply):
        for arg in node.args:
            yield from walk(arg)
    yield node


def inputs(node: Scalar) -> tuple[str, ...]:
    """The names the expression reads, in order of first use."""
    return tuple(dict.fromkeys(n.name for n in walk(node) if isinstance(n, Input)))


def rebuild(node: Scalar, leaf: Callable[[Const | Input], Scalar], inner: Callable[[Apply], Scalar]) -> Scalar:
    """The expression with every leaf and then every operation replaced, bottom-up."""
    if isinstance(node, Apply):
        return inner(Apply(node.op, tuple(rebuild(arg, leaf, inner) for arg in node.args)))
    return leaf(node)
