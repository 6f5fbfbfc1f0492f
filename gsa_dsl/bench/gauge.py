"""The clock and the scales: time, memory and kernel times of one run on a CUDA device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from gsa_dsl.bench.records import Timed
from gsa_dsl.testing.before import FLUSHED, MOST, ColdAndBusy

Run = Callable[[], object]

FEWEST = 3
"""Runs that a median is taken of, however long they take."""
ENOUGH_MS = 1000.0
"""Once :data:`FEWEST` runs are taken, no more are begun after so long."""


class Gauge(Protocol):
    """What measures runs; :class:`CudaGauge` does on a GPU, tests put another in its place."""

    def time(self, run: Run, repeats: int) -> Timed:
        """The median of up to ``repeats`` runs after a first one that does not count, and the peak of memory."""

    def kernels(self, run: Run) -> dict[str, float]:
        """Milliseconds by the name of the kernel, over all its launches in one run; nothing where none is seen."""


class CudaGauge:
    """Times by CUDA events, from a cold cache and with the host ahead; memory by torch's allocator; kernels by torch's
    profiler.
    """

    def time(self, run: Run, repeats: int) -> Timed:
        torch.cuda.synchronize()
        run()  # compiles, loads code, fills caches
        before = ColdAndBusy()
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated() - FLUSHED
        torch.cuda.reset_peak_memory_stats()
        times: list[float] = []
        launching: list[float] = []
        while len(times) < FEWEST or (len(times) < repeats and sum(times) < ENOUGH_MS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            before(launching[-1] if launching else MOST)
            start.record()
            begun = time.perf_counter()
            run()
            launching.append(time.perf_counter() - begun)
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        peak = torch.cuda.max_memory_allocated() - FLUSHED
        return Timed(statistics.median(times), peak, held, len(times), 1e3 * statistics.median(launching))

    def kernels(self, run: Run) -> dict[str, float]:
        from torch._C._autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            run()
            torch.cuda.synchronize()
        events: Any = profiled.events()
        found: dict[str, float] = {}
        for event in events:
            if event.device_type == DeviceType.CUDA:
                found[event.name] = found.get(event.name, 0.0) + event.time_range.elapsed_us() / 1e3
        return found
