"""Every node knows exactly where it stands."""

from __future__ import annotations

import pytest

from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.parser import parse
from tests.frontend.specs import EVERY_CLAUSE, EXAMPLES, clause, expression, nodes, read, show

TEXTS = [EVERY_CLAUSE, EVERY_CLAUSE.replace("\n", "\r\n"), EVERY_CLAUSE.replace("  ", "\t")]
TEXTS += [path.read_text(encoding="utf-8") for path in EXAMPLES]


@pytest.mark.parametrize("text", TEXTS)
def test_lines_and_columns_agree_with_offsets(text: str) -> None:
    for node in nodes(read(text)):
        span = node.span
        lines = text.split("\n")
        for offset, line, column in (
            (span.start, span.line, span.column),
            (span.end, span.end_line, span.end_column),
        ):
            assert sum(len(before) + 1 for before in lines[: line - 1]) + column - 1 == offset


@pytest.mark.parametrize("text", TEXTS)
def test_a_nodes_text_reads_as_the_node(text: str) -> None:
    for node in nodes(read(text)):
        part = text[node.span.start : node.span.end]
        assert part == part.strip()
        match node:
            case ast.Spec():
                assert part.startswith("attention")
                assert part.endswith("}")
            case ast.Name(id=name):
                assert part == name
            case ast.Param() | ast.Keyword():
                assert part.split("=")[0].strip() == node.name.id
            case ast.Setting() | ast.AlwaysItem() | ast.Score():
                words = ("heads", "dim", "keys", "pool", "first", "last", "diagonal", "score")
                assert part.split("[")[0].split()[0] in words
            case ast.Option():
                assert part.split("(")[0].split() == [node.joint.id, node.choice.id]
                assert part.endswith(")") == (node.size is not None)
            case _ if isinstance(node, ast.Expr):
                assert show(expression(part)) == show(node)
            case _:
                again = clause(part)
                assert [type(n) for n in nodes(again)] == [type(n) for n in nodes(node)]


def test_brackets_belong_to_the_operation_around_them() -> None:
    text = "attention a { scale (1 + 2) * (3) }"
    (scale,) = parse(Source("x", text)).clauses
    assert isinstance(scale, ast.Scale)
    product = scale.value
    assert isinstance(product, ast.Binary)
    texts = [text[node.span.start : node.span.end] for node in (scale, product, product.left, product.right)]
    assert texts == ["scale (1 + 2) * (3)", "(1 + 2) * (3)", "1 + 2", "3"]
