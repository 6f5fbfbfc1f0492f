"""Python literals laid out as a formatter would: on one line where they fit, else one element a line."""

from __future__ import annotations

import json

WIDTH = 120


def literal(value: object, *, start: int = 0, indent: int = 0) -> str:
    """``value`` (dicts with string keys, lists, strings, numbers, None) as source that begins in column ``start``."""
    flat = _flat(value)
    if start + len(flat) <= WIDTH or not isinstance(value, (dict, list)) or not value:
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        lines = []
        for name, item in value.items():
            key = f"{inner}{_flat(name)}: "
            # One column stays free for the comma.
            lines.append(f"{key}{literal(item, start=len(key) + 1, indent=indent + 4)},")
        return "\n".join(["{", *lines, " " * indent + "}"])
    lines = [f"{inner}{literal(item, start=len(inner) + 1, indent=indent + 4)}," for item in value]
    return "\n".join(["[", *lines, " " * indent + "]"])


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(name)}: {_flat(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flat(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
