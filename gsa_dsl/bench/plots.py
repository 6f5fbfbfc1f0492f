"""Two drawings of records as SVG: time over length, and speed over arithmetic intensity under the measured roofs.

Backgrounds are transparent and lines of a middle lightness, for light and dark pages; equal records give equal files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gsa_dsl.bench.fit import series
from gsa_dsl.bench.records import PHASES, Record, Rival
from gsa_dsl.bench.table import OURS, titled
from gsa_dsl.runtime.loader import write_atomically

GREY = "#888888"
_OWN = ("#1f77d4", "#2ca089", "#8c6bd1", "#c2569b")
_RIVALS = {"SDPA flash": "#d9822b", "SDPA cuDNN": "#cf4f4f", "FlexAttention": "#a08a1c"}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "gsa_dsl",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "legend.framealpha": 0.0,
    "legend.fontsize": 8,
}


class NoMatplotlib(RuntimeError):
    """Plots were asked for, and matplotlib is not installed."""


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write ``NAME_scaling.svg`` and ``NAME_roofline.svg`` for every spec, parameters and shape with times.

    Raises:
        NoMatplotlib: there is no matplotlib to draw with.
        OSError: the folder cannot be written to.
    """
    written = []
    for name, group in groups(records):
        for kind, panel in (("scaling", _scaling), ("roofline", _roofline)):
            path = folder / f"{name}_{kind}.svg"
            write_atomically(path, _drawn(group, panel))
            written.append(path)
    return written


def groups(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Records with times, of one spec, parameters and shape each, under a name for files: ``gsa_64x4x128``."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.times:
            found.setdefault(titled(record.case), []).append(record)
    named: dict[str, list[Record]] = {}
    for group in found.values():
        case = group[0].case
        width = case.head_dim if case.value_dim == case.head_dim else f"{case.head_dim}-{case.value_dim}"
        stem = name = f"{case.spec}_{case.heads}x{case.kv_heads}x{width}"
        number = 1
        while name in named:
            number += 1
            name = f"{stem}_{number}"
        named[name] = group
    return list(named.items())


def _drawn(records: list[Record], panel: Callable[[Any, list[Record], str], None]) -> str:
    """The text of a drawing with a panel for each phase that was measured."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoMatplotlib("drawing needs matplotlib: pip install 'gsa-dsl[bench]'") from error
    phases = [phase for phase in PHASES if any(phase in record.times for record in records)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6 * len(phases), 4.0), layout="constrained")
        labelled: dict[str, Any] = {}
        for axes, phase in zip(figure.subplots(1, len(phases), squeeze=False)[0], phases, strict=True):
            axes.set(xscale="log", yscale="log", title=phase)
            axes.grid(True, which="major")
            panel(axes, records, phase)
            labelled |= {line.get_label(): line for line in axes.lines}
        # One for both panels: what is in them is the same.
        figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=1 + len(phases))
        figure.suptitle(titled(records[0].case), fontsize=9, color=GREY)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return stream.getvalue()


def _scaling(axes: Any, records: list[Record], phase: str) -> None:
    """Time over length: a line for each overlap, and each rival."""
    for colour, group in zip(_cycled(len(series(records))), series(records), strict=True):
        own = [(record.case.length, record.times[phase].ms) for record in group if phase in record.times]
        if own:
            axes.plot(*zip(*own, strict=True), "o-", color=colour, markersize=4, label=_own_label(group))
    for name, function, points in _of_rivals(records, phase, lambda record, rival: record.case.length):
        axes.plot(*zip(*points, strict=True), "s--", color=_RIVALS[name], markersize=3, label=f"{name}, {function}")
    lengths = sorted({record.case.length for record in records})
    axes.set_xticks(lengths, [f"{length // 1024}K" if length % 1024 == 0 else str(length) for length in lengths])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="tokens", ylabel="ms")


def _roofline(axes: Any, records: list[Record], phase: str) -> None:
    """Speed over FLOPs a byte, each operand and result moved once; under the product's and the copy's own speed."""
    for colour, group in zip(_cycled(len(series(records))), series(records), strict=True):
        speeds = [(_intensity(record, phase), record.tflops(phase)) for record in group if phase in record.times]
        if speeds:
            axes.plot(*zip(*speeds, strict=True), "o", color=colour, markersize=4, label=_own_label(group))
    found = _of_rivals(
        records,
        phase,
        lambda _, rival: rival.work[phase].flops / rival.work[phase].bytes,
        lambda rival: rival.work[phase].flops / rival.times[phase].ms / 1e9,
    )
    for name, function, points in found:
        axes.plot(*zip(*points, strict=True), "s", color=_RIVALS[name], markersize=3, label=f"{name}, {function}")
    setting = records[0].setting
    ridge = setting.matmul_tflops * 1e3 / setting.copy_gb_s
    furthest = max([2 * x for line in axes.lines for x in line.get_xdata()] + [4 * ridge])
    nearest = min([x / 2 for line in axes.lines for x in line.get_xdata()] + [ridge / 4])
    roof = [nearest * setting.copy_gb_s / 1e3, setting.matmul_tflops, setting.matmul_tflops]
    said = f"measured: {setting.matmul_tflops:.0f} TFLOP/s, {setting.copy_gb_s / 1e3:.2f} TB/s"
    axes.plot([nearest, ridge, furthest], roof, "-", color=GREY, label=said)
    axes.set(xlabel="FLOP/byte", ylabel="useful TFLOP/s")


def _of_rivals(
    records: list[Record],
    phase: str,
    x: Callable[[Record, Rival], float],
    y: Callable[[Rival], float] | None = None,
) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Points of every rival and function; one measured for several rows counts once."""
    found: dict[tuple[str, str], dict[tuple[float, float], None]] = {}
    for record in records:
        for rival in record.rivals:
            if phase in rival.times:
                point = (x(record, rival), rival.times[phase].ms if y is None else y(rival))
                found.setdefault((rival.name, rival.function), {})[point] = None
    return [(name, function, sorted(points)) for (name, function), points in found.items()]


def _intensity(record: Record, phase: str) -> float:
    return record.work[phase].flops / record.work[phase].bytes


def _own_label(group: list[Record]) -> str:
    wanted = group[0].case.overlap
    return OURS if wanted is None else f"{OURS}, overlap {'by chance' if wanted == 0 else f'{wanted:g}'}"


def _cycled(count: int) -> list[str]:
    return [_OWN[number % len(_OWN)] for number in range(count)]
