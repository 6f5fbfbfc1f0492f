"""All mistakes in one run, and each of them once."""

from __future__ import annotations

import pytest

from tests.frontend.specs import EVERY_CLAUSE, mistakes


def found(text: str) -> list[tuple[str, int]]:
    return [(diagnostic.code, diagnostic.span.line) for diagnostic in mistakes(text)]


def test_one_mistake_a_clause() -> None:
    text = """\
attention a(k 1) {
  gait value = linear(x) per head
  scale 1 +
  budget = 5
  indexer {
    head 4
    dim 2k
    score[t, s] = sum(j)
  }
  select top k
  always first 4 last 5
  bound flops < O(L)
  assert score in (0, 1
}
"""
    assert found(text) == [
        ("GSA001", 1),
        ("GSA002", 2),
        ("GSA006", 3),
        ("GSA012", 4),
        ("GSA002", 6),
        ("GSA008", 7),
        ("GSA013", 8),
        ("GSA014", 10),
        ("GSA007", 11),
        ("GSA010", 12),
        ("GSA003", 13),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        "scale ) ] ) ]",
        "scale 1 + + * / 2 ^ ^",
        "gate value = = linear(x) per per head",
        "gait output = ** pre elment",
        "window 3 + ( [",
        "budget(t) = clamp(1, 2",
        "foo { bar { baz } }",
        "scale {",
        "scale 1 {}",
        "select select",
        "bound <= <= O((",
        "assert in 0 in (0, 0)",
        "score[t, s] = q[t, j] . k[s]",
        "é é é é",
        "1 2 3",
    ],
)
def test_no_cascades(broken: str) -> None:
    text = f"attention a {{\n  causal\n  {broken}\n  train indexer with kl\n  always latest 3 4\n  causal\n}}\n"
    lines = [line for _, line in found(text)]
    assert lines == [3, 5]


def test_every_line_of_a_spec_can_break() -> None:
    lines = EVERY_CLAUSE.splitlines()
    for number, line in enumerate(lines, start=1):
        if "=" not in line or number < 3:
            continue
        broken = [*lines[: number - 1], line.replace("=", "= /", 1).replace("<=", "<= /"), *lines[number:]]
        assert {at for _, at in found("\n".join(broken))} == {number}, line


def test_a_keyword_is_not_swallowed_by_the_clause_before() -> None:
    assert found("attention a {\n scale\n causal\n select top\n always last 5\n}") == [("GSA006", 2), ("GSA006", 4)]


def test_a_misspelt_keyword_is_still_read() -> None:
    text = "attention a {\n indexr {\n  hed 4 4\n  scroe[t, s] = +\n  dim 2k\n }\n causal\n gaet output = )\n}"
    assert found(text) == [("GSA002", 2), ("GSA002", 3), ("GSA002", 4), ("GSA008", 5), ("GSA002", 8)]


def test_the_end_of_the_file_points_at_both_ends() -> None:
    text = "attention a {\n  indexer {\n    heads 4\n\n# the end\n\n"
    (diagnostic,) = mistakes(text)
    assert diagnostic.span.start == len(text.rstrip())
    assert [(label.span.line, text[label.span.start]) for label in diagnostic.labels] == [(1, "{"), (2, "{")]


def test_a_missing_part_is_shown_where_it_is_missing() -> None:
    (diagnostic,) = mistakes("attention a {\n  select top 4   # four\n  causal\n}")
    assert (diagnostic.span.line, diagnostic.span.column) == (2, 15)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("gait output = linear(x) per head", "gate"),
        ("Causal", "causal"),
        ("gate output = linear(x) pre head", "per"),
        ("select tpo 4 tokens", "top"),
        ("train indexr with kl", "indexer"),
        ("train indexer wih kl", "with"),
        ("indexer { head 4 }", "heads"),
        ("indexer { scores[t, s] = 1 }", "score"),
        ("budgt[t] = 1", "budget"),
        ("scale 1 gaet value = 1 per head", "gate"),
    ],
)
def test_did_you_mean(text: str, fix: str) -> None:
    (diagnostic,) = mistakes(f"attention a {{ causal {text} }}")
    assert diagnostic.fix == f"did you mean '{fix}'?"
