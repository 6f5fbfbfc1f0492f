"""What comes before a timed run: a cold cache, and a GPU that is busy until the host has launched all of the run.

In a model the GPU has work queued while the host launches what is next. A run that is timed by itself would find it
idle, and where kernels take a tenth of a millisecond its time would be that of the host.
"""

from __future__ import annotations

import torch

FLUSHED = 256 << 20
"""Bytes written before a run: more than any GPU's L2 cache keeps."""
FLUSH = 0.05e-3
"""Seconds that takes at least, on the fastest GPU."""
MOST = 20e-3
"""How far the host gets ahead of the GPU at most, in seconds; what takes longer to launch takes longer to run."""


class ColdAndBusy:
    """Calling it with the seconds that the host takes to launch a run queues writes that take as long, at least one."""

    def __init__(self, device: torch.device | str = "cuda") -> None:
        self._flushed = torch.empty(FLUSHED, dtype=torch.int8, device=device)

    def __call__(self, launching: float = MOST) -> None:
        for _ in range(1 + int(min(launching, MOST) / FLUSH)):
            self._flushed.zero_()
