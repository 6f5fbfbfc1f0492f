"""``gsa verify``: hold the compiled attention against the float64 reference, forward and backward."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gsa_dsl.cli.options import add_json, add_params, add_shape, positive
from gsa_dsl.cli.output import Column, print_error, print_table
from gsa_dsl.cli.session import check_file, compile_for
from gsa_dsl.cli.status import GOOD, WRONG, Misuse

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers
    from gsa_dsl.sema.typed import CheckedSpec
    from gsa_dsl.testing.report import Row, VerifyReport

_EPILOG = """\
examples:
  gsa verify gsa.gsa                                 kernels on the GPU, or interpreted where there is none
  gsa verify gsa.gsa --heads 16 --kv-heads 1 --head-dim 128 --dtype bfloat16
  gsa verify gsa.gsa -p k_base=32 -p k_min=8 -p k_max=64 --L 100 --L 300
  gsa verify gsa.gsa --backend torch --json

Every quantity and every gradient is compared with the reference at the same selection. What is allowed is a small
multiple of the error that PyTorch itself makes in the same precision. Without -p, parameters are scaled down so that
the lengths exceed the budget and keys are really left out.
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
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random inputs (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compile, compare, and show the worst case of each quantity; wrong if any is off."""
    spec = check_file(arguments)

    import torch

    from gsa_dsl.testing.verify import verify

    backend = arguments.backend or ("triton" if torch.cuda.is_available() else "interpret")
    _refuse_dtype(backend, arguments.dtype)
    params = _params(spec, arguments)
    compiled = compile_for(spec, arguments, backend, params)
    with _progress(sys.stderr.isatty() and not arguments.json) as progress, quiet_interpreter():
        report = verify(
            compiled,
            shapes=[(2, length) for length in arguments.lengths] if arguments.lengths else None,
            seed=arguments.seed,
            dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
            progress=progress,
        )
    if arguments.json:
        print(report.to_json())
    else:
        print_report(report, params)
    return GOOD if report.ok else WRONG


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
