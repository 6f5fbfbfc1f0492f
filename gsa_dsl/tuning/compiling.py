"""A child process that only compiles: for a GPU that it never opens, on operands that are not stored.

Kernels are compiled into the cache on disk, where the processes that launch them find them. To open a GPU takes a
process seconds where many do at once, and what runs on it disturbs the one that takes times.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.tuning.job import Job
from gsa_dsl.tuning.measure import Bench

NOWHERE = torch.device("meta")


class Compiler(Bench):
    """A :class:`Bench` without a device: ``compile`` is all it can do."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.device = NOWHERE
        major, minor = map(int, job.capability.split("."))
        triton.runtime.driver.set_active(_Unopened(GPUTarget("cuda", 10 * major + minor, 32), job.shared))
        # Host code asks torch what kernels are to be launched with, and how.
        torch.cuda.get_device_capability = lambda device=None: (major, minor)
        # How many programs there are changes nothing of a kernel.
        alone = SimpleNamespace(multi_processor_count=1)
        torch.cuda.get_device_properties = lambda device=None: alone  # type: ignore[assignment, return-value]

    def _call(self, compiled: CompiledAttention, x: Inputs, *, return_aux: bool = False) -> Any:
        """Unchecked: operands that are nowhere are refused."""
        unused: dict[str, Any] = {"gates": {}, "index": {}, "ema": None, "extras": {}, "documents": None}
        given = unused | {"phase": "sparse", "selection": None} | x.keywords()
        return compiled._attend(x.query, x.key, x.value, **given, return_aux=return_aux)

    def _cotangent(self, output: Tensor) -> Tensor:
        return torch.empty_like(output)


class _Unopened:
    """What Triton asks of a driver while it compiles: the target, and whether a kernel fits it."""

    def __init__(self, target: GPUTarget, shared: int) -> None:
        self._target, self._shared = target, shared
        self.utils = self

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": self._shared}

    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[None, None, int, int, int]:
        """Not loaded; whether there are registers for all its threads is seen where it is."""
        return None, None, 0, 0, 1024

    @property
    def launcher_cls(self) -> type:
        from triton.backends.nvidia.driver import CudaLauncher

        launcher: type = CudaLauncher
        return launcher
