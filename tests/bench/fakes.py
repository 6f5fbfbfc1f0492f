"""A place to measure in without a GPU, and records as a run on one would leave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from gsa_dsl.bench.records import Case, Checked, Record, Rival, Setting, Timed, Work
from gsa_dsl.cli.bench import Place
from gsa_dsl.tuning.key import Machine

SETTING = Setting("NVIDIA H100", "9.0", "570.1", "2.11.0", "3.6.0", "0.1.0", matmul_tflops=750.0, copy_gb_s=3000.0)
MACHINE = Machine("NVIDIA H100", "9.0", "570.1", "3.6.0", "2.11.0")
PAIRS = {8192: 14_680_064, 32768: 65_011_712, 131072: 266_338_304}


class FakeGauge:
    """Runs everything once and says that it took ``ms``; kernels are those of a generated module, and one more."""

    def __init__(self, ms: float = 2.0) -> None:
        self.ms = ms
        self.timed = 0

    def time(self, run: Callable[[], object], repeats: int) -> Timed:
        run()
        self.timed += 1
        return Timed(self.ms, 3 << 30, 1 << 30, min(repeats, 3))

    def kernels(self, run: Callable[[], object]) -> dict[str, float]:
        run()
        return {"attend_fwd_kernel": 0.75, "void at::native::copy": 0.25}


def place(gauge: FakeGauge | None = None) -> Place:
    """The CPU, in float32, with times that are made up."""
    return Place("torch", torch.device("cpu"), torch.float32, gauge or FakeGauge(), MACHINE)


def case(length: int = 8192, overlap: float | None = 0.93, **changed: object) -> Case:
    made = Case("gsa", {"k_base": 2048, "k_min": 256}, 64, 4, 128, 128, length, overlap)
    return replace(made, **changed)  # type: ignore[arg-type]


def record(length: int = 8192, overlap: float = 0.93) -> Record:
    """A row as measured: attention's time is in proportion to its pairs, selection's to the square of the length."""
    attention = PAIRS[length] / 1e7 * (1.5 - overlap / 2)
    scores = (length / 8192) ** 2 / 8
    dense = (length / 8192) ** 2
    forward = attention + scores + 0.1
    flops = {"forward": 1e12 * dense, "training": 3.5e12 * dense}
    works = {phase: Work(x, 1e6 * length, 2e7 * length) for phase, x in flops.items()}
    kernels = {"mark_kernel": scores, "attend_fwd_kernel": attention, "other": 0.1}
    back = {"attend_bwd_query_kernel": attention, "attend_bwd_key_kernel": attention, "indexer_loss_kernel": 1.0}
    return Record(
        case(length, overlap),
        SETTING,
        "gsa bench examples/gsa.gsa --out h100.jsonl",
        overlap=overlap + 0.004,
        keys=PAIRS[length] / length,
        checked=Checked(16, 0.25, 4133),
        times={
            "forward": Timed(forward, 2 << 30, 1 << 30, 20),
            "training": Timed(3 * forward, 5 << 30, 1 << 30, 3),
        },
        work=works,
        kernels={"forward": kernels, "training": kernels | back},
        rivals=(
            rival("SDPA flash", 3.2 * dense, works),
            rival("SDPA cuDNN", 1.8 * dense, works),
            Rival("FlexAttention", "dense causal", why="NoValidChoicesError: target: flex_attention"),
        ),
    )


def rival(name: str, ms: float, work: dict[str, Work]) -> Rival:
    times = {"forward": Timed(ms, 1 << 30, 1 << 30, 20), "training": Timed(4 * ms, 2 << 30, 1 << 30, 5)}
    return Rival(name, "dense causal", times, work)


def records() -> list[Record]:
    """Three lengths at three overlaps, and a row that failed."""
    good = [record(length, overlap) for length in PAIRS for overlap in (0.0, 0.8, 0.93)]
    return [*good, Record(case(262144), SETTING, failure="out of memory (times, training): tried to allocate 32 GiB")]
