"""The shapes of the tensors that gates read: one table for calls, modules, costs and test inputs."""

from __future__ import annotations

TARGETS = ("query", "key", "value", "output")
GRANULARITIES = ("element", "head", "shared")

_HEADS = {"query": "heads", "key": "kv_heads", "value": "kv_heads", "output": "heads"}
_WIDTH = {"query": "head_dim", "key": "head_dim", "value": "value_dim", "output": "value_dim"}


def gate_axes(target: str, granularity: str) -> tuple[str, ...]:
    """The axes of a gate's tensor by name: batch, heads or kv_heads, length, head_dim or value_dim.

    Per element it has the shape of its target, per head no features, and shared neither features nor heads.
    """
    if granularity == "shared":
        return "batch", "length"
    axes = ("batch", _HEADS[target], "length")
    return (*axes, _WIDTH[target]) if granularity == "element" else axes
