"""Run by test_compiling: what a process that only compiles, or one that launches, would have Triton compile.

``python compiling_child.py ROLE SPEC FOLDER PART PARTS``, ROLE 'compiles' or 'launches'; a line for each kernel.
With ROLE 'exceeds' a kernel is compiled for a GPU without shared memory; a line of what is said of that.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import triton
from triton.runtime.jit import JITFunction

from gsa_dsl import compiler
from gsa_dsl.runtime import validate
from gsa_dsl.tuning.compiling import Compiler, _Unopened
from gsa_dsl.tuning.job import Job, KernelFailure
from gsa_dsl.tuning.key import Machine
from gsa_dsl.tuning.launches import launches_replaced, longest_first
from gsa_dsl.tuning.measure import Bench
from gsa_dsl.tuning.tuner import Subject, job_of
from gsa_dsl.tuning.worker import failure


class Made:
    """In place of a compiled kernel."""

    run = None


def note(self: Any, key: Any, signature: Any, device: int, constants: Any, options: Any, attrs: Any, _: bool) -> Made:
    print(self.__name__, sorted(signature.items()), constants, sorted(map(str, attrs.items())), options)
    made: Made = self.device_caches[device][0].setdefault(key, Made())
    return made


def main() -> None:
    role, path, folder, part, parts = sys.argv[1:]
    # A GPU is said to be there; nothing of it is used.
    torch.version.cuda = "13.0"  # type: ignore[assignment]
    compiler._backend = lambda backend: "triton"  # type: ignore[assignment]
    if role != "exceeds":
        JITFunction._do_compile = note  # type: ignore[method-assign]
    subject = Subject(Path(path).read_text(encoding="utf-8"), Path(path).name, {}, 8, 2, 32)
    job = job_of(subject, 0.9, folder, Machine("a GPU", "9.0", "", "", ""))
    job = replace(job, check_length=512, long_length=job.long_length and 5120)
    if role == "exceeds":
        exceeded(replace(job, shared=0))
    elif role == "compiles":
        made: Bench = Compiler(job)
        made.compile(made._plan.config, int(part), int(parts))
    else:
        launched(job)


def exceeded(job: Job) -> None:
    _Unopened.launcher_cls = staticmethod(lambda *_: None)  # type: ignore[assignment]  # needs the driver's library
    made = Compiler(job)
    kernels = longest_first(made.default.kernels)
    try:
        made.compile(made._plan.config, kernels.index("attend_fwd_kernel"), len(kernels))
    except KernelFailure as error:
        why = failure(error)
        print(why.kind, why.kernel, why.detail)


def launched(job: Job) -> None:
    """On the CPU, where kernels are not launched."""
    validate._dtype_and_device = lambda *_: None  # type: ignore[assignment]
    Compiler(job)  # its driver, and what it says of the hardware
    assert isinstance(triton.runtime.driver.active, _Unopened)
    made = Bench(job)
    made.device = torch.device("cpu")

    def specialised(name: str, kernel: Any, grid: Any, args: Any, kwargs: Any) -> None:
        kernel.warmup(*args, grid=grid, **kwargs)

    with launches_replaced(made.default.kernels, specialised):
        made._results(made.default)


main()
