"""How much a result may differ from the float64 reference. The only place that says so.

The measure is data: the error that eager torch makes at the same task in the same precision, on the same inputs. A
result may be at most ``FACTOR`` times as far off, in its worst entry and in the root mean square, plus a few roundings
of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FACTOR = 3.0

# Roundings of a result's own, in units of its precision. The half precisions accumulate in float32 and round once or
# twice; in float32 every step rounds; for float64 there is no better precision to take the error of eager torch from.
ROUNDINGS = {torch.bfloat16: 1, torch.float16: 1, torch.float32: 16, torch.float64: 512}

# What an indexer score may be off by, relative to the row's largest, beside FACTOR times the error of eager float32:
# at half precision a one-instruction sigmoid or 16-bit fixed point is good enough, in float32 only rounding is.
SCORE_ERROR = {
    torch.bfloat16: 2.0**-11,
    torch.float16: 2.0**-11,
    torch.float32: 16 * 2.0**-23,
    torch.float64: 512 * 2.0**-52,
}

_FLOAT32 = torch.finfo(torch.float32).eps


@dataclass(frozen=True, slots=True)
class Deviation:
    """An error and what is allowed, in the units of the quantity; NaN is an infinite error."""

    error: float
    allowed: float

    @property
    def ok(self) -> bool:
        return self.error <= self.allowed


def deviation(
    actual: Tensor, exact: Tensor, eager: Tensor, dtype: torch.dtype, *, floor: float = 0.0, logits: float = 0.0
) -> Deviation:
    """How far ``actual`` is from ``exact`` (float64), beside what ``eager`` (torch in ``dtype``) is off by.

    ``floor`` is the size of the terms that may cancel in a few entries, where the result itself says nothing of their
    rounding (the gradient of a row with one key is a difference of equals). Measured are the worst entry and the root
    mean square; the one closer to its limit, or further beyond it, is returned. Equal infinities agree, NaN never does.

    ``logits`` is the size of the logits under a softmax: kept in float32, or better, the weights lose that many
    roundings where they are formed again from logits and lse. Raises ValueError where the shapes differ.
    """
    if actual.shape != exact.shape:
        raise ValueError(f"shapes differ: {tuple(actual.shape)} and {tuple(exact.shape)}")
    if exact.numel() == 0:
        return Deviation(0.0, 0.0)
    own, other = _difference(actual, exact), _difference(eager, exact)
    size = torch.where(exact.isfinite(), exact.detach().double().abs(), 0.0)
    unit = ROUNDINGS[dtype] * torch.finfo(dtype).eps + logits * min(torch.finfo(dtype).eps, _FLOAT32)
    # cancellation concerns a few rows: the more there are, the less they weigh in the mean
    few = floor / math.sqrt(exact.shape[-2] if exact.dim() > 1 else exact.numel())
    worst = Deviation(_worst(own), FACTOR * _finite(_worst(other)) + unit * max(_worst(size), floor))
    mean = Deviation(_rms(own), FACTOR * _finite(_rms(other)) + unit * max(_rms(size), few))
    return max(worst, mean, key=_excess)


def score_error(scores: Tensor, eager: Tensor, dtype: torch.dtype) -> Tensor:
    """What the scores of each row may be off by: ``[N, L]`` from ``scores [N, L, K]`` and their float32 evaluation."""
    finite = scores.isfinite()
    size = torch.where(finite, scores.abs(), 0.0).amax(-1)
    other = torch.where(finite & eager.isfinite(), (eager.double() - scores).abs(), 0.0).amax(-1)
    return FACTOR * other + SCORE_ERROR[dtype] * size


def _difference(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.detach().double(), b.detach().double()
    return torch.where(a == b, 0.0, (a - b).abs())


def _worst(x: Tensor) -> float:
    return _number(x.max().item())


def _rms(x: Tensor) -> float:
    return _number(x.square().mean().sqrt().item())


def _number(x: float) -> float:
    return math.inf if math.isnan(x) else x


def _finite(x: float) -> float:
    return x if math.isfinite(x) else 0.0  # where eager torch overflows it excuses nothing


def _excess(d: Deviation) -> float:
    if d.error <= d.allowed:
        return d.error / d.allowed if d.allowed else 0.0
    return d.error / d.allowed if d.allowed else math.inf
