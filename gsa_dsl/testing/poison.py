"""Uninitialised memory made visible: what a kernel forgets to write turns up as NaN instead of by luck as zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_ALLOCATING: tuple[tuple[Any, str], ...] = (
    (torch, "empty"),
    (torch, "empty_like"),
    (torch, "empty_strided"),
    (Tensor, "new_empty"),
    (Tensor, "new_empty_strided"),
)


class PoisonedMemory:
    """Within this context every ``torch.empty`` of floats holds NaN, also in the backward passes started inside.

    The functions themselves are exchanged: a torch function mode does not reach into a backward pass. Integers hold 1:
    as positions anything larger would send a kernel out of bounds before anything could be compared, and 0 is too often
    right.
    """

    def __enter__(self) -> None:
        self._kept = [getattr(owner, name) for owner, name in _ALLOCATING]
        for (owner, name), allocate in zip(_ALLOCATING, self._kept, strict=True):
            setattr(owner, name, _poisoned(allocate))

    def __exit__(self, *_: object) -> None:
        for (owner, name), allocate in zip(_ALLOCATING, self._kept, strict=True):
            setattr(owner, name, allocate)


def _poisoned(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def poisoned(*args: Any, **kwargs: Any) -> Tensor:
        result = allocate(*args, **kwargs)
        with torch.no_grad():
            result.fill_(torch.nan if result.is_floating_point() else 1)
        return result

    return poisoned
