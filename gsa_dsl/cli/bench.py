"""``gsa bench``: time and memory of specs beside the attention of others, after their results were checked."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import write_file
from gsa_dsl.cli.options import add_json, add_params, add_shape, positive, share
from gsa_dsl.cli.output import Column, print_error, print_json, print_table
from gsa_dsl.cli.session import check_file, compile_for
from gsa_dsl.cli.status import GOOD, WRONG, Misuse

if TYPE_CHECKING:
    import torch

    from gsa_dsl.bench.gauge import Gauge
    from gsa_dsl.bench.records import Record
    from gsa_dsl.cli.options import Subparsers
    from gsa_dsl.compiler import CompiledAttention
    from gsa_dsl.tuning.key import Machine

_EPILOG = """\
examples:
  gsa bench gsa.gsa                                    three lengths, three overlaps, all rivals; minutes
  gsa bench gsa.gsa -p k_base=2048 -p k_min=2048 -p k_max=2048 --lengths 32768 --overlaps 0.93
  gsa bench msa.gsa moba.gsa --lengths 32768 --forward-only --rivals flex
  gsa bench gsa.gsa --out results.jsonl --plots plots  keep a line a row, and draw
  gsa bench --from results.jsonl --plots docs/assets --markdown docs/results.md

Every result is held against the float64 reference before its time is taken; a wrong one has no time, and the exit
status is 1. A row is shown, and written, as soon as it is known. --from needs no GPU.
"""
_RIVALS = ("flash", "cudnn", "flex")
_LENGTHS = (8192, 32768, 131072)
_OVERLAPS = (0.0, 0.8, 0.93)


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "bench",
        help="measure specs beside SDPA and FlexAttention",
        description="Check, then time specs beside SDPA's flash and cuDNN kernels and FlexAttention, on this GPU.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a spec, or - for standard input")
    add_shape(parser, heads=64, kv_heads=4, head_dim=128)
    add_params(parser)
    parser.add_argument(
        "--lengths",
        metavar="N",
        type=positive,
        nargs="+",
        default=_LENGTHS,
        help=f"sequence lengths (default: {_spelt(_LENGTHS)})",
    )
    parser.add_argument(
        "--overlaps",
        metavar="X",
        type=share,
        nargs="+",
        default=_OVERLAPS,
        help="how alike neighbouring queries choose, 0 to 1, in the inputs; 0: by chance alone "
        f"(default: {_spelt(_OVERLAPS)})",
    )
    parser.add_argument(
        "--rivals",
        choices=_RIVALS,
        nargs="*",
        default=_RIVALS,
        help=f"what to measure beside the specs (default: {_spelt(_RIVALS)})",
    )
    parser.add_argument("--forward-only", action="store_true", help="leave training out, and the check of gradients")
    parser.add_argument(
        "--repeats",
        metavar="N",
        type=positive,
        default=20,
        help="runs of each, fewer (at least 3) where they take long (default: %(default)s)",
    )
    parser.add_argument("--out", metavar="JSONL", type=Path, help="add a JSON line a row to this file")
    parser.add_argument(
        "--from",
        dest="from_",
        metavar="JSONL",
        type=Path,
        nargs="+",
        help="measure nothing: show and draw the rows in these files",
    )
    parser.add_argument("--plots", metavar="DIR", type=Path, help="draw time over length and the roofline, as SVG")
    parser.add_argument("--markdown", metavar="PAGE", type=Path, help="write everything as a page; needs --plots")
    parser.add_argument("--heading", metavar="TEXT", default="Results", help="of that page (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class Place:
    """Where and with what is measured."""

    backend: str
    device: torch.device
    dtype: torch.dtype
    gauge: Gauge
    machine: Machine


def here() -> Place:
    """The GPU of this machine; raises Misuse where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise Misuse(
            "benchmarks measure on a GPU, and there is no CUDA device here; "
            "--from FILE shows and draws what was measured elsewhere"
        )
    from gsa_dsl.bench.gauge import CudaGauge
    from gsa_dsl.tuning.key import machine

    return Place("triton", torch.device("cuda"), torch.bfloat16, CudaGauge(), machine())


def run(arguments: argparse.Namespace) -> int:
    """Measure or read, show, write; wrong if a row could not be measured."""
    _refuse(arguments)
    if arguments.from_ is not None:
        records = _read(arguments)
        status = GOOD
    else:
        records = _measure(arguments)
        status = WRONG if any(record.failure is not None for record in records) else GOOD
    _report(arguments, records, status)
    return status


def _refuse(arguments: argparse.Namespace) -> None:
    """Raise Misuse for what cannot be carried out, before anything is measured."""
    if arguments.from_ is not None and (arguments.files or arguments.out is not None):
        raise Misuse("--from measures nothing; leave out the specs and --out")
    if arguments.from_ is None and not arguments.files:
        raise Misuse("name a spec to measure, or rows measured before with --from")
    if arguments.markdown is not None and arguments.plots is None:
        raise Misuse("a page shows plots; say with --plots DIR where to draw them")
    if arguments.plots is not None and importlib.util.find_spec("matplotlib") is None:
        raise Misuse("--plots draws with matplotlib, which is not installed: pip install 'gsa-dsl[bench]'")


def _read(arguments: argparse.Namespace) -> list[Record]:
    from gsa_dsl.bench.records import NotRecords, read

    try:
        records = read(arguments.from_)
    except OSError as error:
        raise Misuse(f"cannot read {error.filename}: {error.strerror}") from error
    except (NotRecords, UnicodeDecodeError) as error:
        raise Misuse(f"these are no rows of gsa bench: {error}") from error
    for record in records:
        _show(record, arguments.json)
    return records


def _measure(arguments: argparse.Namespace) -> list[Record]:
    from gsa_dsl import __version__
    from gsa_dsl.bench.floors import setting_of
    from gsa_dsl.bench.records import append
    from gsa_dsl.bench.run import Bench, Options

    place = here()
    specs = [_compiled(name, arguments, place.backend) for name in arguments.files]
    if arguments.out is not None:
        _touch(arguments.out)
    options = Options(
        lengths=tuple(dict.fromkeys(arguments.lengths)),
        overlaps=tuple(dict.fromkeys(arguments.overlaps)),
        repeats=arguments.repeats,
        forward_only=arguments.forward_only,
        rivals=tuple(dict.fromkeys(arguments.rivals)),
        dtype=place.dtype,
        command=shlex.join(["gsa", *arguments.argv]),
    )
    records: list[Record] = []
    with _progress(sys.stderr.isatty() and not arguments.json) as tell:
        tell("the GPU's matrix product and copy")
        bench = Bench(
            setting_of(place.machine, __version__, place.gauge, place.device), place.gauge, options, place.device, tell
        )
        for compiled in specs:
            for record in bench.records(compiled):
                records.append(record)
                if arguments.out is not None:
                    append(arguments.out, record)
                _show(record, arguments.json)
    return records


def _compiled(name: str, arguments: argparse.Namespace, backend: str) -> CompiledAttention:
    arguments.file = name
    spec = check_file(arguments)
    return compile_for(spec, arguments, backend, dict(arguments.params))


def _touch(path: Path) -> None:
    """Find out now, not after minutes, whether lines can be added to the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from error


def _show(record: Record, as_json: bool) -> None:
    """The row as a table, or on standard error the reason why it has no times."""
    from gsa_dsl.bench import table

    if record.failure is not None:
        print_error(f"{table.title(record)}: {record.failure}")
    if as_json or not record.times:
        return
    columns = [Column(heading, number > 1) for number, heading in enumerate(table.HEADINGS)]
    print_table(f"{table.title(record)}, {record.keys:,.0f} keys a query", columns, table.beside(record))
    for line in (*table.stage_lines(record), *table.floor_lines(record), *table.check_lines(record)):
        print(line)
    print(flush=True)


def _report(arguments: argparse.Namespace, records: Sequence[Record], status: int) -> None:
    """The fits, the plots and the page; with ``--json`` everything as one document."""
    from gsa_dsl.bench.fit import fits
    from gsa_dsl.bench.page import page
    from gsa_dsl.bench.plots import draw
    from gsa_dsl.bench.table import fit_line

    found = fits(records)
    plots: list[Path] = []
    if arguments.plots is not None:
        try:
            plots = draw(records, arguments.plots)
        except OSError as error:
            raise Misuse(f"cannot write into {arguments.plots}: {error.strerror}") from error
    if arguments.markdown is not None:
        beside = os.path.relpath(arguments.plots, arguments.markdown.parent).replace(os.sep, "/")
        made_by = shlex.join(["gsa", *arguments.argv]) if arguments.from_ is not None else ""
        write_file(arguments.markdown, page(records, arguments.heading, made_by, beside))
    if arguments.json:
        rows = [json.loads(record.to_line()) for record in records]
        document = {"ok": status == GOOD, "rows": rows, "fits": [asdict(fit) for fit in found]}
        print_json(document | {"plots": [str(path) for path in plots]})
        return
    for fit in found:
        print(fit_line(fit))
    for path in (*plots, *([arguments.markdown] if arguments.markdown is not None else [])):
        print(path)


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[str], None]]:
    """A moving line that says what is being done, on a terminal."""
    if not shown:
        yield lambda what: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda what: status.update(what)


def _spelt(values: Sequence[float | str]) -> str:
    return " ".join(value if isinstance(value, str) else f"{value:g}" if value < 1 else str(value) for value in values)
