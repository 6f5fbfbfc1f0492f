"""What a tuned configuration holds for: the spec and its shape, the length, the GPU, the software it was found with.

Nothing here parses a spec or imports the compiler: a lookup happens while a user waits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import gsa_dsl

LONGEST = 1 << 24
OVERLAPS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Lower ends of the overlap buckets: how alike neighbouring queries choose (mean Jaccard index)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The GPU and the software on it, as far as they decide which configuration is fastest."""

    gpu: str
    capability: str
    driver: str
    triton: str
    torch: str


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a stored result; ``length`` and ``overlap`` are buckets, no ``overlap`` where nothing is chosen."""

    spec: str
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    length: int
    overlap: float | None
    gpu: str
    capability: str
    driver: str
    triton: str
    torch: str
    gsa_dsl: str
    space: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Key:
        """Raises ValueError or TypeError for what is no key."""
        key = cls(**data)
        for field in fields(cls):
            value = data[field.name]
            wanted = _TYPES[field.name]
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise TypeError(f"{field.name} of a key is {value!r}")
        return key

    @property
    def name(self) -> str:
        """A short digest, for file names."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


_NUMBERS = ("heads", "kv_heads", "head_dim", "length")
_TYPES: dict[str, Any] = {field.name: int if field.name in _NUMBERS else str for field in fields(Key)} | {
    "overlap": (int, float, type(None))
}
ADVISORY = ("driver", "torch", "gsa_dsl")
"""Fields in which a result that came with the package may differ: they move times, not what fits."""


def key_for(
    spec: str, shape: tuple[int, int, int], dtype: str, length: int, overlap: float | None, machine: Machine
) -> Key:
    """The key of a call; ``spec`` is a :func:`spec_digest`, ``shape`` (heads, kv_heads, head_dim)."""
    from gsa_dsl.tuning.space import space_digest

    return Key(
        spec=spec,
        heads=shape[0],
        kv_heads=shape[1],
        head_dim=shape[2],
        dtype=dtype,
        length=length_bucket(length),
        overlap=None if overlap is None else overlap_bucket(overlap),
        **asdict(machine),
        gsa_dsl=gsa_dsl.__version__,
        space=space_digest(),
    )


def spec_digest(text: str, params: Mapping[str, int | float]) -> str:
    """Of the spec's words and the parameters given: comments and layout do not count, nor does the file's name."""
    words = " ".join(re.sub(r"#[^\n]*", "", text).split())
    return hashlib.sha256(json.dumps([words, sorted(params.items())]).encode()).hexdigest()[:16]


def length_bucket(length: int) -> int:
    """The power of two that ``length`` does not exceed."""
    return 1 << (length - 1).bit_length()


def overlap_bucket(overlap: float) -> float:
    """The lower end of the bucket that ``overlap`` falls into."""
    return max(low for low in OVERLAPS if low <= max(overlap, 0.0))


def machine(device: int | None = None) -> Machine:
    """The CUDA device ``device`` (default: the current one) and the software; initialises CUDA."""
    import torch
    import triton

    properties = torch.cuda.get_device_properties(torch.cuda.current_device() if device is None else device)
    return Machine(
        gpu=properties.name,
        capability=f"{properties.major}.{properties.minor}",
        driver=driver_version(),
        triton=triton.__version__,
        torch=torch.__version__,
    )


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The GPU driver's version as its kernel module tells it; where it does not, ``unknown``."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", file.read_text(encoding="utf-8"))
    except OSError:
        return "unknown"
    return found[1] if found else "unknown"
