"""What the grammar accepts and the tree it makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsa_dsl.frontend import ast
from tests.frontend.specs import EVERY_CLAUSE, EXAMPLES, clause, expression, nodes, read, show


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_parse(path: Path) -> None:
    assert read(path.read_text(encoding="utf-8")).name.id == path.stem


def test_every_clause_has_its_node() -> None:
    spec = read(EVERY_CLAUSE)
    kinds = {type(node) for node in nodes(spec)}
    assert kinds >= {
        *ast.Clause.__args__,
        *ast.Expr.__args__,
        ast.Param,
        ast.Setting,
        ast.Score,
        ast.Keyword,
        ast.Option,
    }


@pytest.mark.parametrize(
    "options",
    [
        "by max per kv_head per queries(128)",
        "per queries(128) by max per kv_head",
        "per kv_head per queries(128) by max",
    ],
)
def test_the_options_of_a_choice_stand_in_any_order(options: str) -> None:
    select = clause(f"select top k blocks(64) {options}")
    assert isinstance(select, ast.Select)
    assert select.unit.id == "blocks"
    assert select.size is not None
    assert show(select.size) == "64"
    said = [(option.joint.id, option.choice.id, option.size is not None) for option in select.options]
    assert said == [("by", "max", False), ("per", "kv_head", False), ("per", "queries", True)]


def test_keys_are_those_of_an_owner_or_of_everyone() -> None:
    indexer = clause("indexer { keys per kv_head  keys shared  keys attention  pool max }")
    assert isinstance(indexer, ast.Indexer)
    said = [(line.key.id, line.value, line.per) for line in indexer.settings]
    assert [(key, value.id, per) for key, value, per in said if isinstance(value, ast.Name)] == [
        ("keys", "kv_head", True),
        ("keys", "shared", False),
        ("keys", "attention", False),
        ("pool", "max", False),
    ]


def test_a_forced_block_needs_no_count() -> None:
    always = clause("always first 1, diagonal, last 2")
    assert isinstance(always, ast.Always)
    assert [(item.kind.id, item.count is None) for item in always.items] == [
        ("first", False),
        ("diagonal", True),
        ("last", False),
    ]


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b / c", "((a / b) / c)"),
        ("a * b / c * e", "(((a * b) / c) * e)"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("a * b ^ c", "(a * (b ^ c))"),
        ("-a ^ 2", "(-(a ^ 2))"),
        ("2 ^ -a", "(2 ^ (-a))"),
        ("2 ^ -a ^ b", "(2 ^ (-(a ^ b)))"),
        ("-a * b", "(-(a * b))"),
        ("-a + b", "((-a) + b)"),
        ("a - -b", "(a - (-b))"),
        ("--a", "(-(-a))"),
        ("a * -b * c", "((a * (-b)) * c)"),
        ("a / -b * c", "((a / (-b)) * c)"),
        ("a + b < c - e", "((a + b) < (c - e))"),
        ("a * b == c", "((a * b) == c)"),
        ("(a < b) + c", "((a < b) + c)"),
        ("a * q[t, j] . k[s] * c", "((a * (q[t,j] . k[s])) * c)"),
        ("q[t, j] . k[s] / sqrt(dim) + b[j]", "(((q[t,j] . k[s]) / sqrt(dim)) + b[j])"),
        ("-q[t, j] . k[s]", "(-(q[t,j] . k[s]))"),
        ("a ^ 2 . b", "((a ^ 2) . b)"),
        ("q.k", "(q . k)"),
        ("sum(j) a * b + c", "((sum_j (a * b)) + c)"),
        ("sum(j) a * b - sum(j) c", "((sum_j (a * b)) - (sum_j c))"),
        ("sum(j) -a * b", "(sum_j (-(a * b)))"),
        ("-sum(j) a", "(-(sum_j a))"),
        ("2 * sum(j) a * b + c", "((2 * (sum_j (a * b))) + c)"),
        ("a * b / -sum(j) c", "((a * b) / (-(sum_j c)))"),
        ("sum(j) max(j) a . b", "(sum_j (max_j (a . b)))"),
        ("sum(j) (a + b) * c", "(sum_j ((a + b) * c))"),
        ("sum(j) a < b", "((sum_j a) < b)"),
        ("max(a, b)", "max(a,b)"),
        ("max(score[t])", "max(score[t])"),
        ("mean(t) var(score[t])", "(mean_t var(score[t]))"),
        ("ema(var(score[t]), decay = 1 - a)", "ema(var(score[t]),decay=(1 - a))"),
        ("f()", "f()"),
        ("f(a = 1, b = 2)", "f(a=1,b=2)"),
        ("1e-6 + 0.5 + 64 + 1E3", "(((1e-06 + 0.5) + 64) + 1000.0)"),
    ],
)
def test_precedence(text: str, grouped: str) -> None:
    assert show(expression(text)) == grouped


@pytest.mark.parametrize("word", ["scale", "gate", "budget", "heads", "dim", "keys", "top", "per", "O", "k", "Q", "tt"])
def test_keywords_are_names_in_expressions(word: str) -> None:
    assert show(expression(f"2 * {word} / f({word})")) == f"((2 * {word}) / f({word}))"


def test_numbers_keep_their_kind() -> None:
    assert [type(expression(text).value) for text in ("64", "64.0", "6e1")] == [int, float, float]  # type: ignore[union-attr]


def test_bounds_with_and_without_o() -> None:
    asymptotic, exact = clause("bound flops <= O(L * O)"), clause("bound selected <= O")
    assert isinstance(asymptotic, ast.Bound)
    assert isinstance(exact, ast.Bound)
    assert (asymptotic.asymptotic, show(asymptotic.body)) == (True, "(L * O)")
    assert (exact.asymptotic, show(exact.body)) == (False, "O")


@pytest.mark.parametrize(("ends", "closed"), [("()", (False, False)), ("[)", (True, False)), ("[]", (True, True))])
def test_interval_ends(ends: str, closed: tuple[bool, bool]) -> None:
    node = clause(f"assert score in {ends[0]}0, J{ends[1]}")
    assert isinstance(node, ast.Assert)
    assert (node.low_closed, node.high_closed) == closed


def test_line_ends_mean_nothing() -> None:
    text = EVERY_CLAUSE.split("\n", 1)[1].replace("# é 注意", "")
    flat = " ".join(text.split())
    spread = "\n".join(text.split(" "))
    kinds = [[type(node) for node in nodes(read(version))] for version in (text, flat, spread)]
    assert kinds[0] == kinds[1] == kinds[2]


def test_words_that_only_begin_like_keywords() -> None:
    spec = read("attention causality(gates = 1, causal_ = 2) { causal scale gates }")
    assert [param.name.id for param in spec.params] == ["gates", "causal_"]
