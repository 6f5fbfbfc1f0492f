"""What the GPU at hand does at best, measured in the same run: a large matrix product, and a copy."""

from __future__ import annotations

import torch

from gsa_dsl.bench.gauge import Gauge
from gsa_dsl.bench.records import Setting
from gsa_dsl.tuning.key import Machine

SIDE = 8192
COPIED = 1 << 30
REPEATS = 20


def setting_of(
    machine: Machine,
    version: str,
    gauge: Gauge,
    device: torch.device,
    *,
    side: int | None = None,
    copied: int | None = None,
) -> Setting:
    """The machine with its floors: a bf16 product of matrices of ``side``, and a copy of ``copied`` bytes, each of
    which is read once and written once; :data:`SIDE` and :data:`COPIED` unless given.
    """
    side, copied = side or SIDE, copied or COPIED
    matmul, copy = _product(gauge, device, side), _copy(gauge, device, copied)
    return Setting(
        gpu=machine.gpu,
        capability=machine.capability,
        driver=machine.driver,
        torch=machine.torch,
        triton=machine.triton,
        gsa_dsl=version,
        matmul_tflops=2 * side**3 / matmul / 1e9,
        copy_gb_s=2 * copied / copy / 1e6,
    )


def _product(gauge: Gauge, device: torch.device, side: int) -> float:
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    return gauge.time(lambda: torch.matmul(a, b, out=product), REPEATS).ms


def _copy(gauge: Gauge, device: torch.device, copied: int) -> float:
    source = torch.zeros(copied, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return gauge.time(lambda: target.copy_(source), REPEATS).ms
