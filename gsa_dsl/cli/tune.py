"""``gsa tune``: find the fastest tile sizes for specs on the GPU at hand, and keep them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gsa_dsl.cli import tune_views as views
from gsa_dsl.cli.files import write_file
from gsa_dsl.cli.options import add_json, add_params, add_shape, positive, share
from gsa_dsl.cli.output import print_json
from gsa_dsl.cli.session import check_file, shape_of
from gsa_dsl.cli.status import GOOD, WRONG, Misuse

if TYPE_CHECKING:
    from gsa_dsl.cli.options import Subparsers
    from gsa_dsl.tuning.store import Store
    from gsa_dsl.tuning.tuner import Subject

_EPILOG = """\
examples:
  gsa tune gsa.gsa                                     a minute on this GPU, for 8192 tokens
  gsa tune gsa.gsa --heads 64 --kv-heads 4 --length 8192 --length 32768 --budget 30s
  gsa tune gsa.gsa --show-space                        what may be chosen; needs no GPU
  gsa tune gsa.gsa --dry-run --target sm_90            how much of it can run there; needs no GPU
  gsa tune gsa.gsa --why                               why nothing stored is used for this spec and length
  gsa tune --list                                      what is stored
  gsa tune --export h100.json                          take it to another machine: gsa tune --import h100.json

What is found is kept in the cache folder ($GSA_DSL_CACHE_DIR) and used by gsa_dsl.compile from then on. Ctrl-C keeps
what is known; the same command goes on from there. A stored result is not searched for again without --again.
"""
TARGETS = ("sm_80", "sm_89", "sm_90", "sm_100", "gfx942")
DTYPES = ("bfloat16", "float16", "float32")


def add(commands: Subparsers) -> None:
    """Add the command to the ``gsa`` parser."""
    parser = commands.add_parser(
        "tune",
        help="find the fastest tile sizes on the GPU at hand",
        description="Measure tile sizes and launches of the kernels, and keep the fastest for gsa_dsl.compile to use.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a spec, or - for standard input")
    add_shape(parser, heads=32, kv_heads=8, head_dim=128)
    add_params(parser)
    parser.add_argument(
        "--length",
        dest="lengths",
        metavar="N",
        type=positive,
        action="append",
        help="a sequence length; may be repeated (default: 8192)",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the operands (default: %(default)s)")
    parser.add_argument(
        "--overlap",
        metavar="X",
        type=share,
        default=0.9,
        help="how alike neighbouring queries choose, 0 to 1, in the inputs that are timed (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        metavar="TIME",
        type=_seconds,
        default=60.0,
        help="for each spec and length, as 60s or 5m (default: 60s)",
    )
    parser.add_argument("--again", action="store_true", help="search also where something is stored")
    modes = parser.add_argument_group("instead of measuring").add_mutually_exclusive_group()
    modes.add_argument("--show-space", action="store_true", help="print what may be chosen")
    modes.add_argument(
        "--dry-run", action="store_true", help="compile for --target and print what survives and why the rest fell"
    )
    modes.add_argument("--why", action="store_true", help="print what is stored for these files, or in what it differs")
    modes.add_argument("--list", action="store_true", help="print what is stored")
    modes.add_argument("--export", metavar="JSON", type=Path, help="write what is stored to a file")
    modes.add_argument("--import", dest="import_", metavar="JSON", type=Path, help="add what a file holds to the store")
    parser.add_argument("--target", choices=TARGETS, default="sm_90", help="of --dry-run (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; wrong if some length could not be measured."""
    from gsa_dsl.tuning.store import Store

    store = Store.of_user()
    if arguments.list:
        views.show_entries(store, arguments.json)
    elif arguments.export is not None:
        _export(store, arguments)
    elif arguments.import_ is not None:
        _import(store, arguments)
    elif not arguments.files:
        raise Misuse("name a spec to tune, or ask for --list, --export or --import")
    else:
        return _each_file(arguments)
    return GOOD


def _each_file(arguments: argparse.Namespace) -> int:
    mode = next((mode for name, mode in _MODES.items() if getattr(arguments, name)), _measure)
    results, status = [], GOOD
    for name in arguments.files:
        arguments.file = name
        subject = _subject(arguments)
        result, good = mode(subject, arguments)
        results.append({"file": name, **result})
        status = status if good else WRONG
    if arguments.json:
        print_json({"ok": status == GOOD, "files": results})
    return status


def _subject(arguments: argparse.Namespace) -> Subject:
    from gsa_dsl.tuning.tuner import Subject

    source = check_file(arguments).source
    name = Path(source.name).name
    if source.base is not None:
        raise Misuse(f"{name} extends {source.base.name}, and results are not stored for such specs yet")
    *shape, value_dim = shape_of(arguments)
    if value_dim != arguments.head_dim:
        raise Misuse("results are not stored for a --value-dim other than --head-dim yet; leave it out")
    heads, kv_heads, head_dim = shape
    return Subject(source.text, name, dict(arguments.params), heads, kv_heads, head_dim, dtype=arguments.dtype)


def _measure(subject: Subject, arguments: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from gsa_dsl.tuning.key import machine
    from gsa_dsl.tuning.store import Store
    from gsa_dsl.tuning.tuner import tune

    _need_gpu("tuning measures on a GPU, and there is no CUDA device here; --show-space and --dry-run need none")
    with views.progress_bar(subject.name, arguments.budget, arguments.json) as progress:
        report = tune(
            subject,
            lengths=_lengths(arguments),
            machine=machine(),
            store=Store.of_user(),
            overlap=arguments.overlap,
            budget=arguments.budget,
            again=arguments.again,
            progress=progress,
        )
    if not arguments.json:
        views.show_report(report)
    return report.to_json(), all(row.entry is not None for row in report.rows)


def _show_space(subject: Subject, arguments: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from gsa_dsl.tuning.space import space_of

    space = space_of(subject.plan())
    if not arguments.json:
        views.show_space(subject.name, space)
    return views.space_json(space), True


def _dry_run(subject: Subject, arguments: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from gsa_dsl.runtime.targets import REGISTER_LIMIT, SHARED_LIMIT, TARGETS
    from gsa_dsl.tuning.estimate import Limits
    from gsa_dsl.tuning.prune import by_compiling, by_estimate
    from gsa_dsl.tuning.space import space_of
    from gsa_dsl.tuning.tuner import cores

    plan, target = subject.plan(), arguments.target
    space = space_of(plan)
    limits = Limits(SHARED_LIMIT[target], REGISTER_LIMIT.get(target, 255), TARGETS[target].warp_size)
    overlap = arguments.overlap if plan.listed else None
    estimated = by_estimate(space, limits, itemsize=subject.itemsize, overlap=overlap)
    with views.compile_bar(subject.name, target, arguments.json) as progress:
        survivors, unseen = by_compiling(
            plan,
            space,
            estimated,
            target,
            dtype={"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}[arguments.dtype],
            jobs=cores(),
            seconds=arguments.budget,
            progress=progress,
        )
    if not arguments.json:
        views.show_survivors(subject.name, target, space, survivors, unseen)
    return views.survivors_json(target, space, survivors, unseen), True


def _why(subject: Subject, arguments: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from gsa_dsl.tuning.key import key_for, machine, spec_digest
    from gsa_dsl.tuning.store import Store

    _need_gpu("what is stored holds for a GPU, and there is no CUDA device here; --list shows all of it")
    store, plan = Store.of_user(), subject.plan()
    digest, here = spec_digest(subject.spec, subject.params), machine()
    overlap = arguments.overlap if plan.listed else None
    keys = [key_for(digest, subject.shape, subject.dtype, n, overlap, here) for n in _lengths(arguments)]
    if not arguments.json:
        for key in keys:
            views.show_why(subject.name, key, store)
    return {"keys": [views.why_json(key, store) for key in keys]}, True


_MODES = {"show_space": _show_space, "dry_run": _dry_run, "why": _why}


def _export(store: Store, arguments: argparse.Namespace) -> None:
    from gsa_dsl.tuning.store import Contents, dump

    entries = store.entries()
    write_file(arguments.export, dump(Contents(entries)))
    if arguments.json:
        print_json({"ok": True, "path": str(arguments.export), "entries": len(entries)})
    else:
        print(f"{arguments.export}: {len(entries)} tuned configurations")


def _import(store: Store, arguments: argparse.Namespace) -> None:
    from gsa_dsl.tuning.store import NotAStore, parse

    try:
        found = parse(arguments.import_.read_bytes().decode("utf-8"))
    except OSError as error:
        raise Misuse(f"cannot read {arguments.import_}: {error.strerror}") from error
    except (NotAStore, UnicodeDecodeError) as error:
        raise Misuse(f"{arguments.import_} holds no tuned configurations: {error}") from error
    store.put(found.entries.values())
    left = len(found.unread)
    if arguments.json:
        print_json({"ok": True, "entries": len(found.entries), "left_out": left})
    else:
        said = f"; {left} of another version left out" if left else ""
        print(f"{store.path}: {len(found.entries)} tuned configurations added{said}")


def _lengths(arguments: argparse.Namespace) -> list[int]:
    return list(dict.fromkeys(arguments.lengths or [8192]))


def _need_gpu(why: str) -> None:
    import torch

    if not torch.cuda.is_available():
        raise Misuse(why)


def _seconds(text: str) -> float:
    """``60``, ``60s`` or ``5m``, for argparse."""
    scale = {"s": 1.0, "m": 60.0}.get(text[-1:], 0.0)
    try:
        value = float(text[:-1]) * scale if scale else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time as 60s or 5m, got {text!r}") from None
    if not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected at least a second, got {text!r}")
    return value
