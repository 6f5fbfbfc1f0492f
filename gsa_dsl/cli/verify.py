"""``gsa verify``: hold the compiled attention against the float64 reference, forward and backward."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from gsa_dsl.cli.options import add_json, add_params, add_shape, positive
from gsa_dsl.cli.output import Column, print_error, print_table
from gsa_dsl.cli.session import check_file, compile_for, shape_of
from gsa_dsl.cli.status import GOOD, WRONG, Misuse

if TYPE_CHECKING:
    from pathlib import Path

    from gsa_dsl.cli.options import Subparsers
    from gsa_dsl.sema.typed import CheckedSpec
    from gsa_dsl.testing.campaign import Smallest
    from gsa_dsl.testing.report import Row, VerifyReport

_EPILOG = """\
examples:
  gsa verify gsa.gsa                                 kernels on the GPU, or interpreted where there is none
  gsa verify gsa.gsa --heads 16 --kv-heads 1 --head-dim 128 --dtype bfloat16
  gsa verify gsa.gsa -p k_base=32 -p k_min=8 -p k_max=64 --L 100 --shapes 4x300 1x1000
  gsa verify gsa.gsa --examples 50 --seed 7          50 more shapes, kinds of values and layouts
  gsa verify gsa.gsa --backend torch --json

Every quantity and every gradient is compared with the reference at the same selection. What is allowed is a small
multiple of the error that PyTorch itself makes in the same precision. Without -p, parameters are scaled down so that
the lengths exceed the budget and keys are really left out; interpreted kernels get small tiles, so that short inputs
cross their boundaries. A failure is made as small as it gets and saved as a pytest file that reproduces it.
"""
_COLUMNS = (Column("quantity"), Column("worst error", True), Column("allowed", True), Column("case"), Column("ok"))


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "verify",
        help="test the kernels against the float64 reference",
        description="Compile a spec and compare outputs and gradients with a dense reference in float64.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a spec, or - for standard input")
    add_shape(parser, heads=4, kv_heads=2, head_dim=16)
    add_params(parser)
    parser.add_argument(
        "--backend",
        choices=("triton", "interpret", "torch"),
        help="triton: the kernels on a GPU; interpret: the same kernels, slowly, on the CPU; torch: the PyTorch "
        "backend (default: triton where there is a GPU, else interpret)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32", "float64"),
        help="precision of the inputs (default: bfloat16 on triton, else float32)",
    )
    parser.add_argument(
        "--L",
        dest="lengths",
        metavar="N",
        type=positive,
        action="append",
        help="a length to test, two sequences each; may be repeated (default: short, odd and long ones)",
    )
    parser.add_argument(
        "--shapes",
        metavar="BxL",
        type=_shape,
        nargs="+",
        default=[],
        help="sequences and their length, as 2x300, to test in place of the usual ones",
    )
    parser.add_argument(
        "--examples",
        metavar="N",
        type=positive,
        default=0,
        help="also test N shapes, kinds of values and memory layouts that --seed draws",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random inputs (default: %(default)s)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1 (default: the backend's)")
    parser.add_argument(
        "--shrink",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long to simplify a failure; 0: not at all, and save nothing (default: %(default)g)",
    )
    parser.add_argument(
        "--save", metavar="FILE", help="where to save the failure (default: test_NAME_reproduction.py in this folder)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compile, compare, and show the worst case of each quantity; wrong if any is off, and then why in small."""
    spec = check_file(arguments)

    import torch

    from gsa_dsl.testing.campaign import Campaign
    from gsa_dsl.testing.tiles import tiles_for

    backend = arguments.backend or ("triton" if torch.cuda.is_available() else "interpret")
    _refuse_dtype(backend, arguments.dtype)
    _refuse_device(backend, arguments.device)
    params = _params(spec, arguments)
    heads, groups, _, _ = shape_of(arguments)
    config = tiles_for(backend, heads, groups)
    campaign = Campaign(
        compile_for(spec, arguments, backend, params, config),
        params,
        shapes=(*((2, length) for length in arguments.lengths or ()), *arguments.shapes) or None,
        examples=arguments.examples,
        seed=arguments.seed,
        dtype=arguments.dtype,
        device=arguments.device,
    )
    with _progress(sys.stderr.isatty() and not arguments.json) as progress, quiet_interpreter():
        found = campaign.run(progress)
        smallest = found.smallest(arguments.shrink, progress) if arguments.shrink else None
    report, path = found.report, None if smallest is None else smallest.save(arguments.save)
    if arguments.json:
        print(_json(report, smallest, path))
    else:
        print_report(report, params)
        print_smallest(smallest, path)
    return GOOD if report.ok else WRONG


def _json(report: VerifyReport, smallest: Smallest | None, path: Path | None) -> str:
    """The report, with the smallest failure and the file that reproduces it where there is one."""
    if smallest is None:
        return report.to_json()
    found = {"spec": smallest.failing.text, "case": asdict(smallest.failing.case), "seed": smallest.failing.seed}
    found |= {"quantities": [row.quantity for row in smallest.report.failures], "file": str(path)}
    return json.dumps(json.loads(report.to_json()) | {"smallest": found}, indent=2)


def print_smallest(smallest: Smallest | None, path: Path | None) -> None:
    """The simplest spec and case that still fail, and how to run them, on standard error."""
    if smallest is None:
        return
    failing = smallest.failing
    print(f"\nthe smallest failure found: {failing.case}, seed {failing.seed}\n", file=sys.stderr)
    print(failing.text, file=sys.stderr)
    for row in smallest.report.failures:
        print(f"{row.quantity}: {row.error:.2e} of {row.allowed:.2e} allowed {row.note}".rstrip(), file=sys.stderr)
    print(f"saved: pytest {path}", file=sys.stderr)


def print_report(report: VerifyReport, params: Mapping[str, int | float]) -> None:
    """The worst case of each quantity as a table, the verdict, and every failure on standard error."""
    where = f"{report.backend}, {report.device}, {report.dtype}"
    bound = ", ".join(f"{name} = {value}" for name, value in params.items())
    title = f"attention {report.name}{f' ({bound})' if bound else ''} on {where}"
    print_table(title, _COLUMNS, (_cells(row) for row in report.worst()))
    for note in report.notes:
        print(f"note: {note}")
    if report.ok:
        print(f"verified: {len(report.rows)} comparisons, none beyond what is allowed")
        return
    for row in report.failures:
        quantity, error, allowed, case, _ = _cells(row)
        print(f"{quantity}: {error} of {allowed} allowed, {case} {row.note}".rstrip(), file=sys.stderr)
    print_error(f"not verified: {len(report.failures)} of {len(report.rows)} comparisons failed")


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    return row.quantity, f"{row.error:.2e}", f"{row.allowed:.2e}", str(row.case), "yes" if row.ok else "NO"


def _params(spec: CheckedSpec, arguments: argparse.Namespace) -> dict[str, int | float]:
    """The parameters of ``-p``; without any, the spec's own scaled down to short lengths."""
    if arguments.params:
        return dict(spec.params)
    from gsa_dsl.testing.specs import small_params

    return small_params(spec)


def _refuse_dtype(backend: str, dtype: str | None) -> None:
    impossible = {"triton": ("float64",), "interpret": ("float64", "bfloat16"), "torch": ()}
    if dtype in impossible[backend]:
        raise Misuse(f"--dtype {dtype} does not run on the backend '{backend}'")


def _refuse_device(backend: str, device: str | None) -> None:
    """Raise Misuse for a device that the backend does not run on, or that is not there."""
    if device is None:
        return
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise Misuse(f"--device {device}: {str(error).splitlines()[0]}") from error
    if {"triton": "cuda", "interpret": "cpu"}.get(backend, kind) != kind:
        raise Misuse(f"the backend '{backend}' does not run on --device {device}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise Misuse(f"--device {device}: there is no CUDA device")


def _shape(text: str) -> tuple[int, int]:
    """``2x300`` for argparse."""
    batch, times, length = text.partition("x")
    if not times:
        raise argparse.ArgumentTypeError(f"expected BATCHxLENGTH, as 2x300, got {text!r}")
    return positive(batch), positive(length)


@contextmanager
def quiet_interpreter() -> Iterator[None]:
    """Without numpy's remarks on NaN: the interpreter computes with it, and cases put NaN in on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"triton\.runtime\.interpreter")
        yield


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[str], None] | None]:
    """A moving line that names the case at work, on a terminal."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("case {task.completed}: {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=None)

        def advance(case: str) -> None:
            bar.update(task, description=case, advance=1)

        yield advance
