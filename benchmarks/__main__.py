"""Time compiled specs against SDPA: ``python -m benchmarks examples/gsa.gsa --lengths 8192 32768``.

Forward (inference, selection included) and forward + backward (training, the indexer's loss included), medians of CUDA
events after warm-up, beside SDPA's flash and cuDNN kernels in the same process. One JSON line a row, and a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from torch.nn.attention import SDPBackend, sdpa_kernel

import gsa_dsl
from benchmarks.check import check_rows
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.tuning.inputs import calibrate, overlap_of, workload

RIVALS = {"sdpa flash": SDPBackend.FLASH_ATTENTION, "sdpa cudnn": SDPBackend.CUDNN_ATTENTION}
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """The median time of ``run`` in ms by CUDA events, after two warm-up calls."""
    run()
    run()
    times: list[float] = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def peak(run: Callable[[], Any]) -> int:
    """Bytes at the peak of ``run``, the operands that already exist included."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def measure(compiled: CompiledAttention, inputs: Inputs, repeats: int) -> dict[str, dict[str, float]]:
    """Times and peak memory of the compiled attention and of each rival, on the same operands."""
    query, key, value = inputs.query, inputs.key, inputs.value

    def attend(x: Inputs, aux: bool) -> Any:
        return compiled(x.query, x.key, x.value, **x.keywords(), return_aux=aux)

    def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    # Inference first, while nothing but the operands is in memory.
    rows = {"gsa_dsl": _forward(lambda: attend(inputs, aux=False), repeats)}
    for name, backend in RIVALS.items():
        with sdpa_kernel(backend):
            rows[name] = _forward(lambda: dense(query, key, value), repeats)

    leaves = inputs.to(query.dtype).requires_grad_()
    cotangent = torch.randn_like(query)

    def train() -> None:
        output, aux = attend(leaves, aux=True)
        if aux.indexer_loss is None:
            torch.autograd.backward([output], [cotangent])
        else:
            torch.autograd.backward([output, aux.indexer_loss], [cotangent, torch.ones_like(aux.indexer_loss)])

    def train_dense() -> None:
        torch.autograd.backward([dense(leaves.query, leaves.key, leaves.value)], [cotangent])

    rows["gsa_dsl"] |= _training(train, leaves, repeats)
    for name, backend in RIVALS.items():
        with sdpa_kernel(backend):
            rows[name] |= _training(train_dense, leaves, repeats)
    return rows


def _forward(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    with torch.no_grad():
        time = milliseconds(run, repeats)
        return {"forward_ms": time, "forward_gib": peak(run) / 2**30}


def _training(run: Callable[[], Any], leaves: Inputs, repeats: int) -> dict[str, float]:
    def step() -> None:
        run()
        leaves.zero_grad()

    time = milliseconds(step, max(repeats // 2, 3))
    return {"both_ms": time, "both_gib": peak(step) / 2**30}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specs", nargs="*", type=Path, default=[EXAMPLES / "gsa.gsa"], metavar="FILE")
    parser.add_argument("--lengths", nargs="+", type=int, default=[8192, 32768])
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--overlaps", nargs="+", type=float, default=[0.0, 0.8, 0.93], help="of neighbours' choices")
    parser.add_argument("-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="a spec's parameter")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="append one JSON line a row to FILE")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("benchmarks: a CUDA device is needed; this machine has none", file=sys.stderr)
        return 2
    pairs = (param.split("=") for param in options.param)
    params = {name: float(value) if "." in value else int(value) for name, value in pairs}
    shape = {"heads": options.heads, "kv_heads": options.kv_heads, "head_dim": options.head_dim}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}, bf16, batch 1")
    for path in options.specs:
        compiled = gsa_dsl.compile(path, backend="triton", params=params, **shape)
        if not compiled.spec.causal or compiled.spec.documents:
            print(f"benchmarks: {path}: the rivals are causal over whole sequences; this spec is not", file=sys.stderr)
            return 2
        if compiled.spec.logit is not None or compiled.spec.sink is not None:
            print(f"benchmarks: {path}: the rivals have no logits of their own and no sinks", file=sys.stderr)
            return 2
        for length in options.lengths:
            _bench(compiled, path, length, options)
    return 0


def _bench(compiled: CompiledAttention, path: Path, length: int, options: argparse.Namespace) -> None:
    wanted = options.overlaps if compiled.spec.selection is not None else [None]
    for target in wanted:
        inputs = workload(compiled, length, calibrate(compiled, length, target or 0.0))
        actual = overlap_of(compiled, inputs)
        error = check_rows(compiled, inputs)
        rows = measure(compiled, inputs, options.repeats)
        said = "" if actual is None else f", overlap {actual:.2f}"
        shape = f"{options.heads}q/{options.kv_heads}kv/{options.head_dim}"
        print(f"\n{path.name} L={length} {shape}{said} (rows checked, worst error {error:.1e} of the largest output)")
        for name, row in rows.items():
            ours = rows["gsa_dsl"]
            ratio = "" if name == "gsa_dsl" else f"   we are {row['forward_ms'] / ours['forward_ms']:5.2f} x and "
            ratio += "" if name == "gsa_dsl" else f"{row['both_ms'] / ours['both_ms']:5.2f} x as fast"
            print(
                f"  {name:11s} forward {row['forward_ms']:8.2f} ms {row['forward_gib']:6.2f} GiB"
                f"   forward+backward {row['both_ms']:8.2f} ms {row['both_gib']:6.2f} GiB{ratio}"
            )
        if options.json is not None:
            facts = {
                "spec": path.name,
                "params": compiled.recipe["params"],
                "length": length,
                "heads": options.heads,
                "kv_heads": options.kv_heads,
                "head_dim": options.head_dim,
                "overlap": actual,
                "error": error,
                "device": torch.cuda.get_device_name(),
                "torch": torch.__version__,
                "triton": triton.__version__,
                "rows": rows,
            }
            with options.json.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    sys.exit(main())
