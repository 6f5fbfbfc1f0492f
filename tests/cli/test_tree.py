"""The tree printer behind ``gsa explain --stage``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest

from gsa_dsl.cli.tree import tree_json, tree_text
from gsa_dsl.diagnostics import Span
from gsa_dsl.sema.interval import Interval

SPAN = Span(0, 3, 1, 1, 1, 4)


@dataclass(frozen=True)
class Leaf:
    span: Span
    free: frozenset[str]
    range: Interval
    name: str


@dataclass(frozen=True)
class Branch:
    op: str
    args: tuple[Leaf, ...]
    limit: float | None
    note: tuple[str, ...]


TREE = Branch(
    "add",
    (Leaf(SPAN, frozenset("ts"), Interval(0, 1, False), "w"), Leaf(SPAN, frozenset(), Interval(2, 2), "k")),
    math.inf,
    (),
)


def test_text() -> None:
    assert tree_text(TREE).split("\n") == [
        "Branch op='add' limit=inf",
        "  args:",
        "    Leaf free={s, t} range=(0, 1] name='w'",
        "    Leaf free={} range=[2, 2] name='k'",
    ]


def test_json_is_json_and_has_spans() -> None:
    data = json.loads(json.dumps(tree_json(TREE), allow_nan=False))
    assert data["node"] == "Branch"
    assert data["limit"] == "inf"
    assert data["args"][0]["range"] == "(0, 1]"
    assert data["args"][0]["free"] == ["s", "t"]
    assert data["args"][0]["span"]["end_column"] == 4


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        tree_json(Branch("add", (), 1j, ()))  # type: ignore[arg-type]
