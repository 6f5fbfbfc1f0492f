"""Specs and ways to read them that several tests of the front end use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import pytest

from gsa_dsl.diagnostics.errors import Diagnostic, SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.parser import parse

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.gsa"))

EVERY_CLAUSE = """\
# Every clause and every kind of expression; the meaning is nonsense, the syntax is not.
attention every_clause(k = 2048, low = -0.5, tiny = 1e-6,) extends base {
  causal
  full
  documents
  scale 1 / sqrt(head_dim)   # é 注意
  logit[t, s] = q[t] . k[s] - slope[h] * distance + bias[h, min(distance, k)]
  sink
  gate value  = sigmoid(2 * linear(x) - 1)  per head
  gate output = where(linear(x) <= 0, 0, linear(x) ^ 2)  per element
  gate query  = 2 * sigmoid(linear(x, features = 8) + given(mask))  per shared  starts identity
  without gate key
  without bound memory
  without assert score
  without documents  without scale  without logit  without sink  without indexer  without budget  without select
  without always  without train  without require
  indexer {
    heads 4  dim 64  keys per kv_head  pool mean
    score[t, s] = sum(j) sigmoid(w[t, j]) * (q[t, j] . k[s] / sqrt(dim) + b[j])
  }
  budget[t] = clamp(k * ema(var(score[t]), decay = 0.9, init = 2) / max(var(score[t]), tiny), 1, k)
  select top budget blocks(2 * 32) by max  per kv_head  per queries(k)
  always first 4, last 64, diagonal
  train indexer with kl(temperature = 0.5)
  bound flops    <= O(L^2 * J * dI)
  bound selected <= k
  assert score in (-inf, J]
  assert budget in [1, k)
  require low <= k * tiny
}
"""

T = TypeVar("T", bound=ast.Node)


def read(text: str) -> ast.Spec:
    return parse(Source("test.gsa", text))


def clause(text: str) -> ast.Clause:
    """The only clause of an attention."""
    (only,) = read(f"attention a {{ {text} }}").clauses
    return only


def expression(text: str) -> ast.Expr:
    only = clause(f"scale {text}")
    assert isinstance(only, ast.Scale)
    return only.value


def mistakes(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return caught.value.diagnostics


def nodes(node: ast.Node) -> Iterator[ast.Node]:
    """``node`` and every node in it."""
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, ast.Node):
                yield from nodes(child)


def only(node: ast.Node, kind: type[T]) -> T:
    """The only node of ``kind`` in ``node``."""
    (found,) = (child for child in nodes(node) if isinstance(child, kind))
    return found


def show(node: ast.Expr) -> str:
    """An expression with every operation in round brackets."""
    match node:
        case ast.Number(value=value):
            return str(value)
        case ast.Name(id=name):
            return name
        case ast.Index(base=base, indices=indices):
            return f"{base.id}[{','.join(index.id for index in indices)}]"
        case ast.Lookup(base=base, places=places):
            return f"{base.id}[{','.join(map(show, places))}]"
        case ast.Call(func=func, args=args, keywords=keywords):
            named = [f"{keyword.name.id}={show(keyword.value)}" for keyword in keywords]
            return f"{func.id}({','.join([*map(show, args), *named])})"
        case ast.Reduce(op=op, index=index, body=body):
            return f"({op.id}_{index.id} {show(body)})"
        case ast.Dot(left=left, right=right):
            return f"({show(left)} . {show(right)})"
        case ast.Unary(op=op, operand=operand):
            return f"({op}{show(operand)})"
        case ast.Binary(op=op, left=left, right=right):
            return f"({show(left)} {op} {show(right)})"
