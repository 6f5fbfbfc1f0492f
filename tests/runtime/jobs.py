"""A kernel whose warps have jobs of their own, on the CPU: a thread a job, and signals for which it waits.

Stands for Gluon, of which Triton has no interpreter, on top of the one that it has for its own language. Whatever a GPU
may do late is done as late as it may: copies when their signal is given, products when they are waited for. A place in
shared memory that is read or written at the wrong time gives a wrong result; a signal that never comes, an error.
"""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import triton.language as tl
from triton.experimental.gluon._runtime import GluonJITFunction
from triton.runtime.interpreter import _implicit_cvt, interpreter_builder

from gsa_dsl.runtime.interpreter import InterpretedKernel

PATIENCE = 60.0
"""Seconds after which a signal is thought never to come."""
COPYING, MULTIPLYING = 0.002, 0.002
"""Seconds that a copy and a product take: what does not wait for them is ahead of them then."""
THREADS = 128
"""Of four warps: each tells that its part of a copy has come."""


class Signal:
    """An mbarrier: a phase ends when as many have arrived as it was made for."""

    def __init__(self) -> None:
        self._count = self._missing = self._phase = 0
        self._changed = threading.Condition()

    def init(self, count: int) -> None:
        self._count = self._missing = count

    def arrive(self, count: int) -> None:
        with self._changed:
            self._missing -= count
            assert self._missing >= 0, "more arrive than are awaited"
            if self._missing == 0:
                self._phase, self._missing = self._phase + 1, self._count
                self._changed.notify_all()

    def wait(self, parity: int) -> None:
        """Until the phase of that parity is over; the one before the first is."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._phase & 1 != parity, PATIENCE), "a signal never came"


class Place:
    """A tile in shared memory, or what a product sees of one."""

    def __init__(self, dtype: Any, turned: Place | None = None) -> None:
        self.dtype, self._turned, self._value = dtype, turned, None

    def permute(self, order: tuple[int, int]) -> Place:
        assert tuple(order) == (1, 0)
        return Place(self.dtype, self)

    def write(self, value: Any) -> None:
        self._value = value.to(self.dtype)

    def read(self) -> Any:
        if self._turned is not None:
            return tl.trans(self._turned.read())
        assert self._value is not None, "read before it was written"
        return self._value


class Product:
    """A product that is not there until it is waited for."""

    def __init__(self, left: Any, right: Place, sums: Any) -> None:
        self._left, self._right, self._sums = left, right, sums

    def value(self) -> Any:
        left = self._left.read() if isinstance(self._left, Place) else self._left
        return tl.dot(left, self._right.read(), self._sums)


class _Ring:
    def __init__(self, made: Callable[[], Any], count: int) -> None:
        self._places = [made() for _ in builtins.range(count)]

    def index(self, place: Any) -> Any:
        return self._places[int(place)]


def _allocate(dtype: Any, shape: list[Any], layout: Any) -> Any:
    if dtype == tl.int64:
        return Signal() if len(shape) == 1 else _Ring(Signal, int(shape[0]))
    return _Ring(lambda: Place(dtype), int(shape[0]))


def _specialised(
    jobs: list[tuple[Callable[..., None], tuple[Any, ...]]], warps: list[int], registers: list[int]
) -> None:
    """Every job in a thread; the first error of one is raised here."""
    failed: list[BaseException] = []

    def run(job: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            with np.errstate(all="ignore"):
                job(*args)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=one, daemon=True) for one in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    if failed:
        raise failed[0]


class _Gluon:
    """What Gluon has beyond Triton: layouts, which nothing hangs on here, and shared memory."""

    NVMMASharedLayout = SimpleNamespace(get_default_for=lambda *_: None)
    static_range = builtins.range
    allocate_shared_memory = staticmethod(_allocate)
    warp_specialize = staticmethod(_specialised)

    def __getattr__(self, name: str) -> Any:
        return getattr(tl, name)

    def arange(self, start: Any, stop: Any, layout: Any) -> Any:
        return tl.arange(start, stop)

    def full(self, shape: Any, value: Any, dtype: Any, layout: Any) -> Any:
        return tl.full(shape, value, dtype)

    def zeros(self, shape: Any, dtype: Any, layout: Any) -> Any:
        return tl.zeros(shape, dtype)

    def convert_layout(self, x: Any, layout: Any) -> Any:
        return x

    def SliceLayout(self, dim: int, parent: Any) -> None:
        pass


def _language() -> dict[str, Any]:
    """The names that a module has of Gluon."""
    copies = threading.local()

    def copy(place: Place, pointer: Any) -> None:
        copies.pending = [*getattr(copies, "pending", []), (place, pointer)]

    def copied(signal: Signal, increment_count: bool) -> None:
        assert not increment_count
        for place, pointer in copies.pending:
            time.sleep(COPYING)
            place.write(tl.load(pointer))
        copies.pending = []
        signal.arrive(THREADS)

    def product(left: Any, right: Place, sums: Any, use_acc: bool = True, is_async: bool = False) -> Any:
        made = Product(left, right, sums if use_acc else sums * 0.0)
        return made if is_async else made.value()

    def waited(outstanding: int, deps: tuple[Product, ...]) -> tuple[Any, ...]:
        time.sleep(MULTIPLYING)
        return tuple(one.value() for one in deps)

    barriers = {
        "MBarrierLayout": lambda: None,
        "init": lambda signal, count: signal.init(count),
        "wait": lambda signal, phase: signal.wait(int(phase)),
        "arrive": lambda signal, count: signal.arrive(count),
    }
    return {
        "gl": _Gluon(),
        "mbarrier": SimpleNamespace(**barriers),
        "copy_to_shared": copy,
        "async_copy": SimpleNamespace(mbarrier_arrive=copied),
        "warpgroup_mma": product,
        "warpgroup_mma_wait": waited,
    }


def _counted(*bounds: Any) -> Iterator[Any]:
    """The numbers of a loop as tensors, which they are in a compiled one."""
    return (_implicit_cvt(i) for i in builtins.range(*map(int, bounds)))


class _Kernel:
    """In place of what Triton's interpreter makes of a kernel."""

    def __init__(self, kernel: GluonJITFunction, names: dict[str, Any]) -> None:
        self.fn, self._names, self.launches = kernel.fn, names, 0
        self.arg_names = [param.name for param in kernel.params]
        self._flags = {param.name for param in kernel.params if param.is_constexpr}

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            self.launches += 1
            given = dict(zip(self.arg_names, args, strict=False))
            given |= {name: value for name, value in options.items() if name in self.arg_names}
            cast = {name: x if name in self._flags else _implicit_cvt(x) for name, x in given.items()}
            interpreter_builder.set_grid_dim(grid[0], 1, 1)
            with _names_of(self._names, range=_counted, **_plain(self._names)):
                for program in builtins.range(grid[0]):
                    interpreter_builder.set_grid_idx(program, 0, 0)
                    self.fn(**cast)

        return launch


@contextmanager
def jobs_as_threads(module: ModuleType) -> Iterator[_Kernel]:
    """While open, ``attend_hopper_kernel`` of an interpreted module runs here; it tells how often it was launched."""
    names = vars(module)
    functions = {name: value for name, value in names.items() if isinstance(value, GluonJITFunction)}
    kernel = _Kernel(functions["attend_hopper_kernel"], names)
    instead = {name: value.fn for name, value in functions.items()} | _language()
    instead["attend_hopper_kernel"] = InterpretedKernel(kernel)
    with _names_of(names, **instead):
        yield kernel


def _plain(names: dict[str, Any]) -> dict[str, Any]:
    """A module's constants as numbers, with which numbers can be reckoned outside of a kernel."""
    return {name: value.value for name, value in names.items() if isinstance(value, tl.constexpr)}


@contextmanager
def _names_of(names: dict[str, Any], **instead: Any) -> Iterator[None]:
    before = {name: names[name] for name in instead if name in names}
    names.update(instead)
    try:
        yield
    finally:
        for name in instead:
            del names[name]
        names.update(before)
