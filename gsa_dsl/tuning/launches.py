"""What happens at a launch, while something else than launching is wanted of a generated module."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from gsa_dsl.tuning.job import KernelFailure

Grid = tuple[int, ...]
Launch = Callable[[str, Any, Grid, tuple[Any, ...], dict[str, Any]], None]
"""Told a kernel's name, the kernel, its grid and its arguments, in place of the launch."""


@contextmanager
def launches_replaced(module: ModuleType, instead: Launch) -> Iterator[None]:
    """While open, ``instead`` is called in place of every launch of a kernel of ``module``."""
    before = {name: getattr(module, name) for name in module.LAUNCH}
    for name, kernel in before.items():
        setattr(module, name, _Replaced(name, kernel, instead))
    try:
        yield
    finally:
        for name, kernel in before.items():
            setattr(module, name, kernel)


class _Replaced:
    """A kernel with the same launch syntax, ``kernel[grid](...)``."""

    def __init__(self, name: str, kernel: Any, instead: Launch) -> None:
        self._name, self._kernel, self._instead = name, kernel, instead

    def __getitem__(self, grid: Grid) -> Callable[..., None]:
        return lambda *args, **kwargs: self._instead(self._name, self._kernel, grid, args, kwargs)


@contextmanager
def launches_watched(
    module: ModuleType, told: Callable[[str, Any, Any], None] | None = None, mark: Callable[[], Any] = time.perf_counter
) -> Iterator[None]:
    """While open, a launch of a kernel of ``module`` that fails names the kernel, and ``told`` hears when each ran."""

    def watched(name: str, kernel: Any, grid: Grid, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        start = mark() if told is not None else None
        try:
            kernel[grid](*args, **kwargs)
        except Exception as error:
            raise KernelFailure(name, error) from error
        if told is not None:
            told(name, start, mark())

    with launches_replaced(module, watched):
        yield


def longest_first(module: ModuleType) -> list[str]:
    """The kernels of ``module`` by the length of their text and of what they call: about how long each compiles."""
    texts = {name: value.src for name, value in vars(module).items() if hasattr(value, "src")}

    @cache
    def length(name: str) -> int:
        called = (word for word in re.findall(r"\w+(?=\()", texts[name]) if word in texts and word != name)
        return len(texts[name]) + sum(map(length, called))

    return sorted(module.LAUNCH, key=length, reverse=True)


@contextmanager
def only_compiled(module: ModuleType, names: Collection[str]) -> Iterator[None]:
    """While open, no kernel of ``module`` is launched; these are compiled for what they are called with, and loaded."""

    def compiled(name: str, kernel: Any, grid: Grid, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in names:
            return
        try:
            made = kernel.warmup(*args, grid=grid, **kwargs)
            # What launches it is compiled too, by the C compiler, and what does not fit the GPU is told now.
            made.run  # noqa: B018
        except Exception as error:
            raise KernelFailure(name, error) from error

    with launches_replaced(module, compiled):
        yield


@contextmanager
def left_out(module: ModuleType, names: Collection[str]) -> Iterator[None]:
    """While open, these kernels of ``module`` are not launched; what they would write is left as it is."""

    def others(name: str, kernel: Any, grid: Grid, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in names:
            kernel[grid](*args, **kwargs)

    with launches_replaced(module, others):
        yield
