"""What a phase has to do, whoever does it: FLOPs by the cost formulas at the pairs attended to, and bytes.

A backward pass of attention counts five products a pair and head where the forward pass counts two: the logits again,
the gradient of the weights, and those of query, key and value. Gates and the softmax of it are not counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from torch import Tensor

from gsa_dsl.bench.records import Work
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.sema.cost import TRAINING, cost
from gsa_dsl.testing.inputs import Inputs


def work_of(compiled: CompiledAttention, inputs: Inputs, pairs: int) -> dict[str, Work]:
    """The work of both phases on ``inputs``, which attend to ``pairs`` (query, key) pairs a sequence."""
    meta, (batch, _, length, _) = compiled.meta, inputs.query.shape
    heads, width, value_width = meta["heads"], meta["head_dim"], meta["value_dim"]
    *rows, _ = cost(compiled.spec, pairs).evaluate(
        length, heads, meta["kv_heads"], width, batch, inputs.query.itemsize, value_dim=value_width
    )
    forward = [row for row in rows if row.construct not in TRAINING]
    flops = sum(row.flops for row in forward)
    modelled = sum(row.bytes for row in forward)
    training = sum(row.flops for row in rows) + batch * pairs * backward_flops(heads, width, value_width)
    moved = _moved(inputs, value_width)
    return {
        "forward": Work(flops, moved["forward"], modelled),
        "training": Work(training, moved["training"], sum(row.bytes for row in rows)),
    }


def rival_work(compiled: CompiledAttention, inputs: Inputs, pairs: int) -> dict[str, Work]:
    """The work of attention alone over ``pairs``: what is counted for a rival on these query, key, value."""
    inputs = dataclasses.replace(inputs, gates=None, index=None, ema=None, extras=None, documents=None)
    sizes = compiled.meta["heads"], compiled.meta["head_dim"], compiled.meta["value_dim"]
    forward, backward = (pairs * flops(*sizes) for flops in (attention_flops, backward_flops))
    moved = _moved(inputs, sizes[2])
    return {
        "forward": Work(float(forward), moved["forward"], moved["forward"]),
        "training": Work(float(forward + backward), moved["training"], moved["training"]),
    }


def attention_flops(heads: int, width: int, value_width: int) -> int:
    """Of a pair, forward: ``q . k`` and ``p v`` for every head."""
    return 2 * heads * (width + value_width)


def backward_flops(heads: int, width: int, value_width: int) -> int:
    """Of a pair, backward: three products of the width of keys, two of that of values, for every head."""
    return 2 * heads * (3 * width + 2 * value_width)


def _moved(inputs: Inputs, value_width: int) -> dict[str, int]:
    """Bytes by phase, every operand and result moved once."""
    batch, heads, length, _ = inputs.query.shape
    others = [x for x in (inputs.ema, inputs.documents) if x is not None]
    taken = _bytes(inputs.tensors().values()) + _bytes(others)
    given = batch * heads * length * (value_width * inputs.query.itemsize + 4)  # the output, and lse
    # Backward reads all of it again, and the output's gradient, and writes a gradient of every operand.
    both = 2 * (taken + given) + given + _bytes(inputs.tensors().values())
    return {"forward": taken + given, "training": both}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(x.numel() * x.itemsize for x in tensors)
