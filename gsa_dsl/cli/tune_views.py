"""What ``gsa tune`` shows: the space, what survives, progress, results, what is stored, and why something is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gsa_dsl.cli.output import Column, Json, print_json, print_table

if TYPE_CHECKING:
    from gsa_dsl.tuning.found import Progress
    from gsa_dsl.tuning.key import Key
    from gsa_dsl.tuning.prune import Survivors
    from gsa_dsl.tuning.space import Axis, Space
    from gsa_dsl.tuning.store import Entry, Store
    from gsa_dsl.tuning.tuner import Tuned, TuneReport


def show_space(name: str, space: Space) -> None:
    """Every field with its values, the planner's marked, group by group."""
    rows = [("shared", axis.field, _values(axis, space), "") for axis in space.shared]
    for group in space.groups:
        for number, axis in enumerate(group.axes):
            slots = f"{len(space.choices(group))} x {len(space.slots(group))}" if number == 0 else ""
            rows.append((group.name if number == 0 else "", axis.field, _values(axis, space), slots))
    rows += [
        ("whole calls" if n == 0 else "", axis.field, _values(axis, space), "") for n, axis in enumerate(space.whole)
    ]
    columns = (Column("group"), Column("field"), Column("values (planner's in brackets)"), Column("choices", True))
    print_table(f"space of {name}", columns, rows)
    print(f"{space.size:,} configurations; {space.to_measure:,} times of single kernels decide among them")


def space_json(space: Space) -> Json:
    groups = [
        {"name": group.name, "kernels": list(group.kernels), "shared": list(group.shared), "axes": _axes(group.axes)}
        for group in space.groups
    ]
    sizes = {"configurations": space.size, "to_measure": space.to_measure}
    return {"shared": _axes(space.shared), "groups": groups, "whole_calls": _axes(space.whole), **sizes}


def _axes(axes: tuple[Axis, ...]) -> dict[str, list[int]]:
    return {axis.field: list(axis.values) for axis in axes}


def _values(axis: Axis, space: Space) -> str:
    from gsa_dsl.tuning.space import value_of

    own = value_of(space.base, axis.field)
    return " ".join(f"[{value}]" if value == own else str(value) for value in axis.values)


def show_survivors(name: str, target: str, space: Space, survivors: Survivors, unseen: int) -> None:
    """How many choices of each group are left, and a line a reason for those that are not."""
    rows = []
    for group in space.groups:
        left = sum(len(survivors.kept[group.name, slot]) for slot in space.slots(group))
        fallen = [(kind, count) for of, kind, count in survivors.reasons() if of == group.name]
        said = ", ".join(f"{count} {kind}" for kind, count in fallen)
        rows.append((group.name, str(left + sum(count for _, count in fallen)), str(left), said))
    columns = (Column("group"), Column("choices", True), Column("survive", True), Column("why the rest fell"))
    print_table(f"{name} for {target}", columns, rows)
    print(f"{survivors.count} of {survivors.count + len(survivors.dropped)} survive")
    if unseen:
        print(f"{unseen} of them were not compiled in time; --budget gives more")
    shown = {(one.group, one.kind): one for one in survivors.dropped}
    for one in shown.values():
        values = ", ".join(f"{field}={value}" for field, value in one.slot + one.choice)
        print(f"for example {one.group}: {values}: {one.reason}")


def survivors_json(target: str, space: Space, survivors: Survivors, unseen: int) -> Json:
    groups = {
        group.name: sum(len(survivors.kept[group.name, slot]) for slot in space.slots(group)) for group in space.groups
    }
    dropped = [asdict(one) | {"slot": dict(one.slot), "choice": dict(one.choice)} for one in survivors.dropped]
    return {"target": target, "survive": groups, "not_compiled": unseen, "dropped": dropped}


def show_report(report: TuneReport) -> None:
    """A table of the lengths, what changed, and every reason for which configurations failed."""
    columns = (
        Column("tokens", True),
        Column("forward", True),
        Column("tuned", True),
        Column("training", True),
        Column("tuned", True),
        Column("gain", True),
        Column("tried", True),
        Column("failed", True),
        Column("search"),
    )
    print_table(f"{report.name} on {report.machine.gpu}, {report.subject.dtype}", columns, map(_cells, report.rows))
    for row in report.rows:
        _show_details(row)


def _cells(row: Tuned) -> tuple[str, ...]:
    entry = row.entry
    search = f"{row.origin}, {row.seconds:.1f} s"
    if entry is None:
        return str(row.length), "", "", "", "", "", "", str(len(row.failures)), search
    both = [x.get(phase) for phase in ("forward", "training") for x in (entry.default, entry.best)]
    times = ["does not run" if time is None else f"{time:.3f} ms" for time in both]
    return str(row.length), *times, f"{entry.gain:.2f} x", str(entry.tried), str(entry.failed), search


def _show_details(row: Tuned) -> None:
    from gsa_dsl.tuning.space import difference

    entry = row.entry
    if entry is not None:
        print(f"{row.length}: {difference(entry.config, row.base)}")
        if entry.length != row.length:
            print(f"{row.length}: times are of {entry.length} tokens; --budget gives time for more")
    if row.origin == "interrupted":
        print(f"{row.length}: interrupted; what is known is stored, the same command goes on from here")
    reasons: dict[tuple[str, str], int] = {}
    for _, why in row.failures:
        said = (why.kind, f"{why.kernel}: {why.detail}" if why.kernel else why.detail)
        reasons[said] = reasons.get(said, 0) + 1
    for (kind, detail), count in reasons.items():
        print(f"{row.length}: {count} failed, {kind}: {detail}")


def show_entries(store: Store, as_json: bool) -> None:
    """The user's entries and the shipped ones."""
    found = [(entry, "yours") for entry in store.entries().values()]
    found += [(entry, "shipped") for entry in store.shipped_entries().values()]
    found.sort(key=lambda one: (one[1], one[0].key.spec, one[0].key.length))
    if as_json:
        print_json({"ok": True, "path": str(store.path), "entries": [e.to_json() | {"from": w} for e, w in found]})
        return
    columns = (
        Column("spec"),
        Column("heads"),
        Column("dtype"),
        Column("tokens", True),
        Column("overlap", True),
        Column("GPU"),
        Column("gain", True),
        Column("from"),
    )
    print_table(f"tuned configurations in {store.path}", columns, [_entry_cells(*one) for one in found])


def _entry_cells(entry: Entry, where: str) -> tuple[str, ...]:
    key = entry.key
    heads = f"{key.heads}/{key.kv_heads} of {key.head_dim}"
    overlap = "" if key.overlap is None else f"{key.overlap:g}"
    return key.spec, heads, key.dtype, str(key.length), overlap, key.gpu, f"{entry.gain:.2f} x", where


def show_why(name: str, key: Key, store: Store) -> None:
    """What calls of a length use, and why nothing else."""
    from gsa_dsl.tuning.lookup import lookup

    chosen = lookup(key, store)
    said = "the planner's default" if chosen is None else chosen.origin
    print(f"{name} at {key.length} tokens uses {said}")
    found = store.why(key)
    if found is None:
        print("nothing is stored at all")
    elif found:
        print_table(
            "no result has exactly this key; the most similar differs in",
            (Column("field"), Column("here"), Column("stored")),
            [(one.field, str(one.wanted), str(one.stored)) for one in found],
        )


def why_json(key: Key, store: Store) -> Json:
    from gsa_dsl.tuning.lookup import lookup

    chosen, found = lookup(key, store), store.why(key)
    return {
        "key": key.to_json(),
        "hit": store.get(key) is not None,
        "uses": None if chosen is None else chosen.origin,
        "differences": None if found is None else [asdict(one) for one in found],
    }


@contextmanager
def progress_bar(name: str, budget: float, as_json: bool) -> Iterator[Callable[[int, Progress], None] | None]:
    """A bar over the budget with the best gain so far, on a terminal."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    with _bar() as bar:
        task = bar.add_task(f"{name}: starting", total=budget)

        def advance(length: int, at: Progress) -> None:
            said = f"{name} at {length}: {at.phase}, {at.tried} tried, {at.failed} failed, best {at.gain:.2f} x"
            bar.update(task, description=said, completed=min(at.seconds, budget))

        yield advance


@contextmanager
def compile_bar(name: str, target: str, as_json: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar over the choices to compile, on a terminal."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    with _bar() as bar:
        task = bar.add_task(f"{name}: compiling for {target}", total=None)
        yield lambda done, every: bar.update(task, completed=done, total=every)


@contextmanager
def _bar() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield bar
