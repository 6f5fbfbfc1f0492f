"""Triton's CPU interpreter, switched on for single launches instead of for a whole process.

``TRITON_INTERPRET=1`` must be set before triton is imported and then holds for every kernel. A user who asks for
``backend="interpret"`` wants it for one module, also beside compiled kernels, so: the module is loaded with the switch
on (its kernels become interpreted ones), and while one runs, library functions that were decorated for compilation
(``tl.sum``, ``tl.zeros``) are interpreted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from types import ModuleType
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter as triton_interpreter
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

_LOCK = RLock()
# Keyed by identity: triton hashes a function by its source, which fails while the library is patched.
_REWRITTEN: dict[int, Any] = {}
_KEPT: list[Any] = []  # what the identities above belong to, so that none is ever reused


@contextmanager
def interpreted_decorators() -> Iterator[None]:
    """While open, ``@triton.jit`` makes interpreted kernels."""
    before = triton.knobs.runtime.interpret
    triton.knobs.runtime.interpret = True
    try:
        yield
    finally:
        triton.knobs.runtime.interpret = before


def _anchor() -> None:
    """Stands for a function that sees both ``tl`` and ``tl.core``: what the interpreter has to patch."""


@contextmanager
def interpreted_launches() -> Iterator[None]:
    """While open, interpreted kernels may call any ``@triton.jit`` function."""
    rewritten = _REWRITTEN

    def call_interpreted(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = rewritten.get(id(self))
        if function is None:
            wrapper = self if isinstance(self, InterpretedFunction) else InterpretedFunction(self.fn)
            function = wrapper.rewrite()
            rewritten[id(self)] = function
            _KEPT.append(self)
        return function(*args, **kwargs)

    def patch_tensor_index(tensor: Any, scope: Any) -> None:
        # Triton 3.6 makes loop bounds by int(array of one element), which numpy 2.4 refuses; later ones squeeze it.
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    # The interpreter keeps its state in triton's own modules, so only one launch may run at a time.
    with _LOCK:
        builder = triton_interpreter.interpreter_builder
        options = builder.options
        # Without debug nobody looks at what this computes: whether whole numbers overflow, a third of a launch's time.
        builder.options = replace(options, sanitize_overflow=options.debug and options.sanitize_overflow)
        patch_tensor = triton_interpreter._patch_lang_tensor
        triton_interpreter._patch_lang_tensor = patch_tensor_index
        jit_call, interpreted_call = JITFunction.__call__, InterpretedFunction.__call__
        scope = triton_interpreter._patch_lang(_anchor)
        JITFunction.__call__ = call_interpreted
        InterpretedFunction.__call__ = call_interpreted
        try:
            yield
        finally:
            JITFunction.__call__ = jit_call
            InterpretedFunction.__call__ = interpreted_call
            triton_interpreter._patch_lang_tensor = patch_tensor
            builder.options = options
            scope.restore()


core = tl.core  # seen through ``_anchor``


class InterpretedKernel:
    """An interpreted kernel with the launch syntax of a compiled one: ``kernel[grid](...)``."""

    def __init__(self, kernel: InterpretedFunction) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: Any, **kwargs: Any) -> None:
            # Masked-out lanes divide by zero and take logarithms of it, on a GPU silently.
            with interpreted_launches(), np.errstate(all="ignore"):
                self._kernel[grid](*args, **kwargs)

        # No graph can hold the interpreter: ``torch.compile`` goes on behind it.
        outside: Callable[..., None] = torch.compiler.disable(launch)  # type: ignore[no-untyped-call]
        return outside


def make_interpreted(module: ModuleType) -> None:
    """Wrap every kernel of a module that was loaded under :func:`interpreted_decorators`."""
    for name, value in list(vars(module).items()):
        if name.endswith("_kernel") and isinstance(value, InterpretedFunction):
            setattr(module, name, InterpretedKernel(value))
