"""Compile a generated module's kernels for a GPU that need not be there, and read what the compiler says of each."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel
from triton.compiler import compile as triton_compile
from triton.experimental.gluon._runtime import GluonASTSource
from triton.runtime.jit import JITFunction

TARGETS: dict[str, GPUTarget] = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_89": GPUTarget("cuda", 89, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED_LIMIT = {"sm_80": 163 << 10, "sm_89": 99 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10, "gfx942": 64 << 10}
"""Shared memory a block may use, in bytes."""
DESCRIBING = ("sm_90", "sm_100")
"""Targets whose hardware copies blocks by descriptors; elsewhere Triton makes slow pointers of these."""
REGISTER_LIMIT = {"gfx942": 512}
"""Registers a thread may use where that is not NVIDIA's 255."""

# Kernel arguments by name; every other pointer is of the query's dtype, every other argument an int.
_INT32 = (
    *("pos_ptr", "count_ptr", "rank_ptr", "candidate_ptr", "threshold_ptr", "last_ptr", "budget_ptr"),
    *("start_ptr", "stop_ptr", "place_ptr", "chooser_ptr", "share_ptr", "total_ptr", "common_ptr", "own_ptr"),
    *("own_count_ptr", "sample_ptr", "found_ptr", "near_ptr", "missed_ptr", "bits_ptr"),
)
_FLOAT32 = (
    *("lse_ptr", "delta_ptr", "row_lse_ptr", "row_delta_ptr", "loss_ptr", "dk_ptr", "dv_ptr", "sum_ptr"),
    *("diq_ptr", "dik_ptr", "diw_ptr", "dib_ptr"),
    *("table_ptr", "dbias_ptr", "pooled_ptr", "middle_ptr", "reach_ptr", "moment_ptr", "kept_ptr"),
)
_STATE = ("state_ptr", "state_in_ptr")
_WORD = {"uint8": "*u8", "int16": "*i16", "int32": "*i32"}


@dataclass(frozen=True, slots=True)
class KernelReport:
    """What the compiler says of one kernel: bytes of shared memory, matrix instructions, registers a thread and the
    bytes of local memory beside them (both 0 where the tool that reads them is not there).
    """

    kernel: str
    variant: str
    target: str
    shared: int
    matrix: tuple[str, ...]
    registers: int = 0
    spilled: int = 0

    @property
    def fits(self) -> bool:
        return self.shared <= SHARED_LIMIT[self.target]


def compile_for(
    module: ModuleType,
    target: str,
    dtype: str = "bf16",
    *,
    kernels: Collection[str] | None = None,
    heaviest: bool = False,
) -> Iterator[KernelReport]:
    """Compile the kernels of ``module`` for ``target`` (a key of :data:`TARGETS`), in each of their variants.

    A kernel that is written for Hopper alone is left out elsewhere.
    ``kernels`` names those wanted, all if left out; ``heaviest`` leaves out variants in which a flag is off.

    Raises:
        triton.CompilationError: a kernel does not compile for that target.
    """
    wanted = {
        name: kernel
        for name, kernel in vars(module).items()
        if isinstance(kernel, JITFunction) and name.endswith("_kernel") and (kernels is None or name in kernels)
    }
    with _precision_of(module, target):
        for name, kernel in wanted.items():
            if kernel.is_gluon() and target != "sm_90":
                continue
            flags = [param.name for param in kernel.params if param.is_constexpr and param.name != "DESCRIBED"]
            # As a launch decides by the hardware, where a module has descriptors.
            copies = target in DESCRIBING and hasattr(module, "TensorDescriptor")
            own = {"DESCRIBED": copies} if any(param.name == "DESCRIBED" for param in kernel.params) else {}
            every = 1 << len(flags)
            for bits in range(every - 1 if heaviest else 0, every):
                variant = {flag: bool(bits >> i & 1) for i, flag in enumerate(flags)} | own
                yield _compile(module, name, kernel, target, dtype, variant)


@contextmanager
def _precision_of(module: ModuleType, target: str) -> Iterator[None]:
    """The module as it would be on a machine with ``target``: what hangs on the torch at hand, for that one."""
    names, cuda = vars(module), TARGETS[target].backend == "cuda"
    theirs = {"PRECISION": tl.constexpr("tf32x3" if cuda else "ieee"), "ONE_INSTRUCTION": tl.constexpr(cuda)}
    own = {name: names[name] for name in theirs if name in names}
    names.update({name: theirs[name] for name in own})
    try:
        yield
    finally:
        names.update(own)


def _compile(
    module: ModuleType, name: str, kernel: JITFunction, target: str, dtype: str, variant: dict[str, bool]
) -> KernelReport:
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], object] = {}
    attributes: dict[tuple[int, ...], list[list[object]]] = {}
    for position, param in enumerate(kernel.params):
        unused_list = not variant.get("LISTED", True) and param.name in (
            "pos_ptr",
            "word_ptr",
            "count_ptr",
            "common_ptr",
            "total_ptr",
            "chooser_ptr",
            "share_ptr",
        )
        if param.is_constexpr or unused_list:
            signature[param.name] = "constexpr"
            constants[(position,)] = variant.get(param.name)
            continue
        signature[param.name] = _type(module, name, param.name, dtype, described=variant.get("DESCRIBED", False))
        # As in a real launch: torch's memory and the strides of rows are multiples of 16.
        if (
            param.name.endswith("_ptr")
            or signature[param.name].startswith("*")
            or param.name.startswith("stride_")
            or param.name in ("width", "list_width", "sample_width")
        ):
            attributes[(position,)] = [["tt.divisibility", 16]]
    own = {"sm_100": "LAUNCH_BLACKWELL", "gfx942": "LAUNCH_AMD"}.get(target, "")
    options = (module.LAUNCH | getattr(module, own, {}))[name]
    made_of = GluonASTSource if kernel.is_gluon() else ASTSource
    compiled = triton_compile(
        made_of(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
        target=TARGETS[target],
        options=dict(options),
    )
    label = ", ".join(f"{flag}={value}" for flag, value in variant.items())
    return KernelReport(name, label, target, compiled.metadata.shared, _matrix(compiled), *_usage(compiled))


def _type(module: ModuleType, kernel: str, name: str, dtype: str, *, described: bool) -> str:
    if name in ("keys", "values"):
        keys = module.BLOCK_KEYS if kernel == "attend_fwd_kernel" else module.BACKWARD_KEYS
        width = getattr(module, "VALUE_PAD", module.DIM_PAD) if name == "values" else module.DIM_PAD
        return f"tensordesc<{dtype}[1,1,{keys.value},{width.value}]>" if described else f"*{dtype}"
    if name in _INT32:
        return "*i32"
    # Pooled keys are float32, whatever the operands are.
    pooled = name == "ik_ptr" and "pool" in module.META.get("grain", {})
    if name in _FLOAT32 or name in _STATE or pooled:
        return "*fp32"
    if name in ("word_ptr", "mark_ptr"):
        return _WORD[str(module.WORD if name == "word_ptr" else module.MARK).removeprefix("torch.")]
    return f"*{dtype}" if name.endswith("_ptr") else "i32"


def _usage(compiled: CompiledKernel) -> tuple[int, int]:
    """Registers and bytes of local memory a thread, read from the machine code by the cuobjdump that triton ships."""
    code, tool = compiled.asm.get("cubin"), Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if code is None or not tool.exists():
        return 0, 0
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        command = [str(tool), "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _matrix(compiled: CompiledKernel) -> tuple[str, ...]:
    """The kinds of matrix instruction in the assembly: wgmma and mma on NVIDIA, mfma on AMD."""
    text = compiled.asm.get("ptx") or compiled.asm.get("amdgcn") or ""
    kinds = {
        "wgmma": r"wgmma\.mma_async",
        "tcgen05": r"tcgen05\.mma",
        "mma": r"\bmma\.sync",
        "mfma": r"v_mfma_",
    }
    return tuple(kind for kind, pattern in kinds.items() if re.search(pattern, text))
