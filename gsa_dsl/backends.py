"""How a compiled attention runs, and who chooses its tile sizes."""

from __future__ import annotations

from typing import Literal

Backend = Literal["auto", "triton", "interpret", "torch"]
BACKENDS: tuple[Backend, ...] = ("auto", "triton", "interpret", "torch")

TUNING: tuple[str, ...] = ("cached", "now", "off")
"""Who chooses the tile sizes: what the tuner has stored, the tuner now, or the planner alone."""
