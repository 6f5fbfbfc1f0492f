"""How a compiled attention runs."""

from __future__ import annotations

from typing import Literal

Backend = Literal["auto", "triton", "interpret", "torch"]
BACKENDS: tuple[Backend, ...] = ("auto", "triton", "interpret", "torch")
