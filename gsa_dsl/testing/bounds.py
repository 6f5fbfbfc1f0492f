"""Addresses made visible: an interpreted kernel that reads or writes outside of its tensors is told, whatever it reads.

What is read there seldom changes a result: most of it is masked later. On a GPU it is an illegal access, if not today
then beside another allocation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import Tensor


class OutOfBoundsError(Exception):
    """A kernel touched memory that is none of its tensors'."""


class CheckedAddresses:
    """Within this context a kernel of ``backend="interpret"`` may touch the elements of its arguments and nothing else.

    An address in the memory of another argument is taken for right: to whom a pointer belongs is not known.
    """

    def __enter__(self) -> None:
        self._runtime: Any = sys.modules.get("gsa_dsl.runtime.interpreter")  # there if any kernel is interpreted
        if self._runtime is None:
            return
        kernel, triton = self._runtime.InterpretedKernel, self._runtime.triton_interpreter
        self._kept = kernel.__getitem__, triton._interpreter
        kernel.__getitem__ = _checking_launches(*self._kept, triton)

    def __exit__(self, *_: object) -> None:
        if self._runtime is not None:
            self._runtime.InterpretedKernel.__getitem__ = self._kept[0]


def _checking_launches(launcher: Callable[..., Any], accesses: Any, triton: Any) -> Callable[..., Any]:
    def launcher_of(kernel: Any, grid: tuple[int, ...]) -> Callable[..., None]:
        launch = launcher(kernel, grid)

        def checked(*args: Any, **kwargs: Any) -> None:
            function = kernel._kernel
            names = (*function.arg_names[: len(args)], *kwargs)
            triton._interpreter = _Accesses(
                accesses, function.fn.__name__, zip(names, (*args, *kwargs.values()), strict=True)
            )
            try:
                launch(*args, **kwargs)
            finally:
                triton._interpreter = accesses

        return checked

    return launcher_of


class _Accesses:
    """Triton's memory accesses, each of which looks at its addresses first."""

    def __init__(self, accesses: Any, kernel: str, arguments: Iterable[tuple[str, Any]]) -> None:
        self._accesses, self._kernel = accesses, kernel
        # A descriptor stands for the tensor it is of.
        own = [(name, getattr(x, "base", x)) for name, x in arguments]
        tensors = [(name, x) for name, x in own if isinstance(x, Tensor) and x.numel()]
        found = sorted((x.data_ptr(), x.data_ptr() + _extent(x), name) for name, x in tensors)
        self._names = [name for *_, name in found]
        self._begin = np.array([begin for begin, *_ in found], dtype=np.uint64)
        # Where tensors overlap the farthest end counts.
        self._end = np.maximum.accumulate(np.array([end for _, end, _ in found], dtype=np.uint64))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accesses, name)

    def load(self, address: Any, mask: Any, other: Any, dtype: Any) -> Any:
        self._check(address, mask, np.dtype(dtype).itemsize, "reads")
        return self._accesses.load(address, mask, other, dtype)

    def store(self, address: Any, value: Any, mask: Any) -> Any:
        self._check(address, mask, value.dtype.itemsize, "writes")
        return self._accesses.store(address, value, mask)

    def atomic_rmw(self, op: Any, address: Any, value: Any, mask: Any, order: Any) -> Any:
        self._check(address, mask, value.dtype.itemsize, "writes")
        return self._accesses.atomic_rmw(op, address, value, mask, order)

    def _check(self, address: Any, mask: Any, size: int, does: str) -> None:
        touched = address[mask].astype(np.uint64)
        place = np.searchsorted(self._begin, touched, side="right").astype(np.int64) - 1
        outside = (place < 0) | (touched + np.uint64(size) > self._end[place])
        if outside.any():
            wrong, before = int(touched[outside][0]), int(place[outside][0])
            where = (
                f"{wrong - int(self._end[before])} bytes past the end of {self._names[before]}"
                if before >= 0
                else f"{int(self._begin[0]) - wrong} bytes before {self._names[0]}"
            )
            raise OutOfBoundsError(f"{self._kernel} {does} outside of its tensors, {where}")


def _extent(x: Tensor) -> int:
    """The bytes from the first element of ``x`` to the end of the one that lies last in memory."""
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return int((last + 1) * x.element_size())
