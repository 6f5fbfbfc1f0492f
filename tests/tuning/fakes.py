"""A machine whose times are known: what the search should find, and every way in which a measurement can go wrong."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import Failure, Job, KernelFailure, Outcome, Timing, WrongResult
from gsa_dsl.tuning.space import Axis, Choice, Group, Space, choice_of, with_choice

SPACE = Space(
    base=KernelConfig(),
    shared=(Axis("tile", (4, 8, 16)), Axis("backward_keys", (32, 64))),
    groups=(
        Group(
            "attend",
            ("attend_fwd_kernel",),
            ("tile",),
            (Axis("block_keys", (32, 64, 128)), Axis("attend.warps", (4, 8))),
        ),
        Group("backward", ("attend_bwd_query_kernel",), ("tile", "backward_keys"), (Axis("backward.warps", (4, 8)),)),
        Group("score", ("score_kernel",), (), (Axis("score_rows", (32, 64, 128)), Axis("score_keys", (32, 128)))),
    ),
    whole=(Axis("workspace_mib", (128, 256, 512)),),
    group_pad=16,
    dim=128,
    index_dim=64,
    stacked_heads=0,
)
BEST = with_choice(
    KernelConfig(),
    (
        ("tile", 16), ("backward_keys", 32), ("block_keys", 128), ("attend.warps", 8), ("backward.warps", 4),
        ("score_rows", 128), ("score_keys", 128), ("workspace_mib", 512),
    ),
)  # fmt: skip


WASTE = 3.0
"""What a workspace of half the size costs in whole calls."""


def milliseconds(config: KernelConfig, length: int) -> dict[str, float]:
    """Times of kernels that are least for ``BEST``; each depends on its own fields and the shared ones."""

    def away(*pairs: tuple[int, int]) -> float:
        return sum(abs(math.log2(value / best)) for value, best in pairs)

    tile = (config.tile, BEST.tile)
    steps = {
        "attend_fwd_kernel": away(tile, (config.block_keys, 128), (config.attend.warps, 8)),
        "attend_bwd_query_kernel": away(tile, (config.backward_keys, 32), (config.backward.warps, 4)),
        "score_kernel": away((config.score_rows, 128), (config.score_keys, 128)),
    }
    return {kernel: 15 * (1 + 0.2 * off) * length / 8192 for kernel, off in steps.items()}


def timing(config: KernelConfig, length: int, *, kernels: bool) -> Timing:
    """What a run of the fake machine says."""
    each = milliseconds(config, length)
    forward = {kernel: each[kernel] for kernel in ("attend_fwd_kernel", "score_kernel")}
    # Few queries at a time cost everywhere, and more than memory is worth.
    waste = WASTE * math.log2(512 / config.workspace_mib) * length / 8192
    totals = {"forward": sum(forward.values()) + waste, "training": sum(each.values()) + waste}
    return Timing(totals, {"forward": forward, "training": each} if kernels else {})


def kernels_of(config: KernelConfig) -> set[tuple[object, ...]]:
    """What of a configuration each kernel is compiled for."""
    return {
        (group.name, choice_of(config, group.shared), choice_of(config, [axis.field for axis in group.axes]))
        for group in SPACE.groups
    }


@dataclass
class FakeBench:
    """A bench with a clock of its own.

    It is ready after 3 s, compiles a kernel in 0.1 s and a configuration in 0.2 s more, checks in 0.5 s, proves in
    0.3 s, loads what is timed in 0.2 s, runs 8192 tokens in 0.1 s.
    """

    failures: dict[str, Failure] = field(default_factory=dict)
    unproved: dict[str, Failure] = field(default_factory=dict)
    said: list[tuple[str, tuple[KernelConfig, ...], float]] = field(default_factory=list)
    """What was asked, of what, and when."""
    now: float = 0.0
    checked: list[KernelConfig] = field(default_factory=list)
    timed: list[tuple[KernelConfig, int]] = field(default_factory=list)
    slowness: float = 1.0
    kernel_seconds: float = 0.1
    cut_off: int = 0
    compiled: dict[KernelConfig, float] = field(default_factory=dict)
    """When each was or will be compiled."""
    kernels: set[tuple[object, ...]] = field(default_factory=set)
    compiling_until: float = 0.0
    proved: list[KernelConfig] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def _spend(self, seconds: float, until: float) -> bool:
        """Let time pass; False if what takes ``seconds`` is cut off at ``until``."""
        done = self.now + seconds <= until
        self.cut_off += not done
        self.now = self.now + seconds if done else max(self.now, until)
        return done

    def ready(self, until: float) -> None:
        self._spend(3.0, until)

    def prepare(self, base: KernelConfig, until: float) -> None:
        self.say("prepare", [base])
        self.compile([base], until)

    def compile_ahead(self, configs: Sequence[KernelConfig]) -> None:
        self.say("compile ahead", configs)
        self._begin(configs)

    def _begin(self, configs: Sequence[KernelConfig]) -> None:
        kernels = {kernel for config in configs for kernel in kernels_of(config)} - self.kernels
        self.kernels |= kernels
        self.compiling_until = max(self.compiling_until, self.now) + (
            0.2 + self.kernel_seconds * len(kernels) if configs else 0.0
        )
        self.compiled |= dict.fromkeys(configs, self.compiling_until)

    def compile(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        self._begin([config for config in configs if config not in self.compiled])
        self.say("compile", configs)
        # What was compiled ahead, while times were taken, is waited for no longer.
        if not self._spend(max([0.0, *(self.compiled[config] - self.now for config in configs)]), until):
            return [Failure("no time", "not compiled") for _ in configs]
        return [None] * len(configs)

    def inputs_ahead(self, length: int) -> None:
        self.say("inputs ahead", ())

    def inputs(self, length: int, until: float) -> None:
        pass

    def say(self, what: str, configs: Sequence[KernelConfig]) -> None:
        self.said.append((what, tuple(configs), self.now))

    def why(self, config: KernelConfig) -> Failure | None:
        """Failures are keyed by an expression over ``c``, as ``c.tile == 16``."""
        return next((why for text, why in self.failures.items() if eval(text, {"c": config, "base": SPACE.base})), None)

    def check(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        self.say("check", configs)
        self.checked += configs
        if not self._spend(0.5 if configs else 0.0, until):
            return [Failure("no time", "not finished") for _ in configs]
        return [self.why(config) for config in configs]

    def prove(self, configs: Sequence[KernelConfig], until: float) -> list[Failure | None]:
        self.say("prove", configs)
        self.proved += configs
        if not self._spend(0.3 if configs else 0.0, until):
            return [Failure("no time", "not finished") for _ in configs]
        return [
            next((why for text, why in self.unproved.items() if eval(text, {"c": config, "base": SPACE.base})), None)
            for config in configs
        ]

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, until: float, *, kernels: bool
    ) -> list[Outcome]:
        self.say("time" if kernels else "compare", configs)
        self.timed += [(config, length) for config in configs]
        timings = [self.timing(config, length, kernels=kernels) for config in configs]
        runs = (repeats + 1) * sum(sum(one.totals.values()) for one in timings) / 1e3
        if not self._spend(0.2 * len(configs) + runs, until):
            return [Failure("no time", "not finished") for _ in configs]
        return list(timings)

    def timing(self, config: KernelConfig, length: int, *, kernels: bool) -> Timing:
        made = timing(config, length, kernels=kernels)
        return replace(made, totals={phase: self.slowness * time for phase, time in made.totals.items()})


NAPS = {"compile": 0.7, "inputs": 0.7, "time": 0.05}


class FakeRunner:
    """What a child process runs in tests: the fake machine, and accidents that the job's spec asks for by name.

    The spec's text is words as ``exit:tile=16``, what happens when a configuration with that tile is checked, or
    ``exit:proof.tile=16``, when it is proved.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.accidents = [word.split(":") for word in job.spec.split() if ":" in word and "=" in word]
        if "unstartable:now=1" in job.spec:
            raise RuntimeError("no device")

    def compile(self, config: KernelConfig, part: int, parts: int) -> None:
        self._nap("compile")
        if f"uncompilable:{config.tile}.{part}" in self.job.spec:
            raise KernelFailure("attend_fwd_kernel", ValueError("no such layout"))

    def inputs(self, length: int) -> None:
        self._nap("inputs")

    def _nap(self, when: str) -> None:
        time.sleep(NAPS[when] * (f"nap:{when}" in self.job.spec))

    def check(self, config: KernelConfig) -> None:
        self._suffer("", config)

    def prove(self, config: KernelConfig) -> None:
        self._suffer("proof.", config)

    def _suffer(self, prefix: str, config: KernelConfig) -> None:
        for what, where in self.accidents:
            name, _, value = where.partition("=")
            if name.startswith(prefix) and getattr(config, name.removeprefix(prefix), None) == int(value):
                accident(what)

    def time(
        self, configs: Sequence[KernelConfig], length: int, repeats: int, seconds: float, kernels: bool
    ) -> list[Timing]:
        time.sleep(0.002 * len(configs))
        self._nap("time")
        return [timing(config, length, kernels=kernels) for config in configs]

    def overlap(self, length: int) -> float | None:
        return 0.5


def accident(what: str) -> None:
    """Everything that can happen to a process."""
    from triton.runtime.errors import OutOfResources

    match what:
        case "exit":
            print("CUDA error: an illegal memory access was encountered")
            os._exit(7)
        case "hang":
            time.sleep(600)
        case "resources":
            try:
                raise OutOfResources(300_000, 232_448, "shared memory")
            except OutOfResources as error:
                raise KernelFailure("attend_fwd_kernel", error) from error
        case "wrong":
            raise WrongResult("output off by 0.5 of 0.01")
        case "raise":
            raise ValueError("something else\nentirely")


def everything(space: Space) -> dict[tuple[str, Choice], tuple[Choice, ...]]:
    """Every choice of every slot, none dropped."""
    return {(group.name, slot): space.choices(group) for group in space.groups for slot in space.slots(group)}
