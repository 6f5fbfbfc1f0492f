"""Uninitialised memory made visible: what a kernel forgets to write turns up as NaN instead of by luck as zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ALLOCATING: frozenset[Callable[..., Any]] = frozenset(
    {torch.empty, torch.empty_like, torch.empty_strided, Tensor.new_empty, Tensor.new_empty_strided}
)


class PoisonedMemory(TorchFunctionMode):
    """Within this context every ``torch.empty`` of floats holds NaN, also in the backward passes started inside.

    Integers are left alone: as positions they would send a kernel out of bounds before anything could be compared.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _ALLOCATING and isinstance(result, Tensor) and result.is_floating_point():
            with torch.no_grad():
                result.fill_(torch.nan)
        return result
