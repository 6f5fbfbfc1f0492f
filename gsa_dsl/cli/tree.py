"""Any stage's value (a tree of frozen dataclasses) as indented text or as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from gsa_dsl.diagnostics import Source, Span
from gsa_dsl.frontend.ast import Spec
from gsa_dsl.sema.interval import Interval

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | int | float | bool | None


def tree_text(value: object, name: str = "") -> str:
    """One line a node, children indented by two; what a node says about itself stands on its line, after ``name``."""
    return "\n".join(_lines(name, value, ""))


def tree_json(value: object) -> JsonValue:
    """The same tree for machines: a mapping per node, ``node`` naming its kind; infinities are written as text."""
    if isinstance(value, Span):
        places = {field.name: getattr(value, field.name) for field in fields(value) if field.name != "source"}
        return places if value.source is None else {**places, "file": value.source.name}
    if isinstance(value, Interval):
        return str(value)
    if is_dataclass(value):
        inner = {name: tree_json(child) for name, child in _fields(value, spans=True)}
        return {"node": type(value).__name__, **inner}
    if isinstance(value, (tuple, list)):
        return [tree_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [tree_json(item) for item in sorted(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a stage holds a {type(value).__name__}, which has no JSON form")


def _fields(node: object, *, spans: bool) -> Iterator[tuple[str, object]]:
    for field in fields(node):  # type: ignore[arg-type]
        child: object = getattr(node, field.name)
        # A checked spec keeps the syntax tree it came from; that is another stage.
        if not isinstance(child, (Source, Spec)) and (spans or not isinstance(child, Span)):
            yield field.name, child


def _lines(name: str, value: object, indent: str) -> Iterator[str]:
    prefix = f"{indent}{name}: " if name else indent
    if not is_dataclass(value) or isinstance(value, (Interval, Span)):
        yield from _collection(prefix, value, indent)
        return
    inline, nested = [], []
    for child_name, child in _fields(value, spans=False):
        short = _short(child)
        if short is None:
            nested.append((child_name, child))
        elif short:
            inline.append(f"{child_name}={short}")
    yield " ".join([prefix + type(value).__name__, *inline])
    for child_name, child in nested:
        yield from _lines(child_name, child, indent + "  ")


def _collection(prefix: str, value: object, indent: str) -> Iterator[str]:
    short = _short(value)
    if short is not None:
        yield prefix + short
        return
    yield prefix.rstrip()
    assert isinstance(value, (tuple, list))
    for item in value:
        yield from _lines("", item, indent + "  ")


def _short(value: object) -> str | None:
    """``value`` in a few characters, empty for nothing at all, None if it needs lines of its own."""
    if value is None or value == () or value == []:
        return ""
    if isinstance(value, (frozenset, set)):
        return "{" + ", ".join(sorted(map(str, value))) + "}"
    if isinstance(value, Interval):
        return str(value)
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, (int, float, bool)):
        return f"{value}"
    if isinstance(value, (tuple, list)):
        if all(isinstance(item, (str, int, float)) for item in value):
            return "(" + ", ".join(str(item) for item in value) + ")"
        if all(isinstance(item, tuple) and len(item) == 2 and not is_dataclass(item[1]) for item in value):
            return "(" + ", ".join(f"{name}={number}" for name, number in value) + ")"
    return None
