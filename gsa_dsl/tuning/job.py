"""What travels between the tuner and the processes that measure: plain values, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = ("forward", "training")
"""Inference without gradients; forward and backward with the indexer's loss."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is tuned: a spec for one head shape, dtype and overlap of choices (None where nothing is chosen).

    ``folder`` is where candidates' modules are written; ``check_length`` the length at which a candidate is compared
    with the default, ``long_length`` another for the output alone, if not 0, where other kernels choose from the rows;
    ``backend`` 'triton', or 'interpret' to try the tuner itself without a GPU. ``capability`` is that of the GPU, as
    '9.0', and ``shared`` how many bytes of shared memory a block may use there; '' where what compiles must ask it.
    """

    spec: str
    name: str
    params: Mapping[str, int | float]
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    overlap: float | None
    folder: str
    check_length: int = 4096
    long_length: int = 0
    backend: str = "triton"
    capability: str = ""
    shared: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a configuration could not be measured; ``kernel`` where it is known which one is to blame.

    kind: 'out of resources', 'wrong result', 'crashed', 'hung', 'error'; or what says nothing of the configuration,
    'not started' (no process could be made ready) and 'no time'.
    """

    kind: str
    detail: str
    kernel: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians in milliseconds: of whole phases, and of each phase's kernels by name if those were asked for."""

    totals: Mapping[str, float]
    kernels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, kernels: tuple[str, ...]) -> float:
        """The time of some kernels over all phases."""
        return sum(phase.get(kernel, 0.0) for phase in self.kernels.values() for kernel in kernels)


class WrongResult(RuntimeError):
    """A configuration's result misses the reference's or the default's."""


class KernelFailure(RuntimeError):
    """A kernel could not be launched; ``kernel`` names it, the cause says why."""

    def __init__(self, kernel: str, error: Exception) -> None:
        super().__init__(str(error))
        self.kernel = kernel


Outcome = Timing | Failure


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    return {"failure" if isinstance(outcome, Failure) else "timing": asdict(outcome)}


def outcome_from_json(data: Mapping[str, Any]) -> Outcome:
    """The inverse of :func:`outcome_to_json`; raises TypeError or KeyError for what is none."""
    return Failure(**data["failure"]) if "failure" in data else Timing(**data["timing"])
