"""Records as rows of text, for the terminal and for pages alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gsa_dsl.bench.fit import Fit
from gsa_dsl.bench.records import PHASES, Case, Record, Timed, Work
from gsa_dsl.bench.stages import stages

OURS = "gsa_dsl"


def title(record: Record) -> str:
    """What the record is of."""
    return f"{titled(record.case)} at {record.case.length:,} tokens{overlap_said(record, ', ')}"


def titled(case: Case) -> str:
    """The spec with its parameters, and the shape of heads."""
    params = ", ".join(f"{name} = {value:g}" for name, value in case.params.items())
    return f"{case.spec}{f' ({params})' if params else ''}, heads {case.shape}"


def overlap_said(record: Record, before: str = "") -> str:
    """How alike neighbours choose, or that they share a choice; nothing where nothing is chosen."""
    if record.overlap is not None:
        return f"{before}overlap {record.overlap:.2f}"
    return f"{before}shared by {record.shared} queries" if record.shared > 1 else ""


HEADINGS = ("", "computes", *(f"{phase} {what}" for phase in PHASES for what in ("ms", "x", "TFLOP/s", "peak GiB")))
"""Of :func:`beside`; ``x`` is how many times the compiled attention's time it is."""


def beside(record: Record) -> list[tuple[str, ...]]:
    """The compiled attention and its rivals, a row each; one without times says why in place of what it computes."""
    ours = record.times
    rows = [(OURS, "the spec", *_cells(record.times, record.work, ours))]
    for rival in record.rivals:
        said = rival.function if rival.why is None else f"{rival.function}: {rival.why}"
        rows.append((rival.name, said, *_cells(rival.times, rival.work, ours)))
    return rows


def _cells(times: Mapping[str, Timed], work: Mapping[str, Work], ours: Mapping[str, Timed]) -> tuple[str, ...]:
    cells: list[str] = []
    for phase in PHASES:
        timed = times.get(phase)
        if timed is None:
            cells += [""] * 4
            continue
        ratio = f"{timed.ms / ours[phase].ms:.2f}" if phase in ours else ""
        cells += [ms(timed.ms), ratio, f"{work[phase].flops / timed.ms / 1e9:.0f}", gib(timed.peak)]
    return tuple(cells)


def stage_lines(record: Record) -> list[str]:
    """A line a phase: where its time goes, by the kernels' own times."""
    found = {phase: stages(kernels) for phase, kernels in record.kernels.items()}
    return [f"{phase}: {', '.join(f'{stage} {ms(x)}' for stage, x in parts.items())}" for phase, parts in found.items()]


def floor_lines(record: Record) -> list[str]:
    """A line a phase: how near its time is to what the GPU could do."""
    lines = []
    for phase, timed in record.times.items():
        matmul, copy = record.floors(phase)
        lines.append(
            f"{phase}: {share(matmul, timed)} of the matmul floor ({ms(matmul)} ms), "
            f"{share(copy, timed)} of the bandwidth floor ({ms(copy)} ms)"
        )
    return lines


def check_lines(record: Record) -> list[str]:
    """What was held against the reference, if anything."""
    checked = record.checked
    if checked is None:
        return []
    gradients = "" if checked.gradients_at is None else f"; gradients at {checked.gradients_at:,} tokens"
    return [f"checked: {checked.rows} queries, errors up to {checked.worst:.0%} of what is allowed{gradients}"]


def share(floor: float, timed: Timed) -> str:
    """A floor's part of the time, as percent: 100 % is a phase that takes no longer."""
    return f"{100 * floor / timed.ms:.1f} %"


def fit_line(fit: Fit) -> str:
    """What the fit found, in words."""
    overlap = "" if fit.case.overlap is None else f", overlap {fit.case.overlap:g} aimed at"
    return (
        f"{titled(fit.case)}{overlap}, {fit.phase}: attention takes {fit.a:.2f} ms + {fit.b:.3f} ms a thousand tokens "
        f"(R^2 = {fit.r2:.4f}), growing as L^{fit.exponent:.2f}, from {fit.lengths[0]:,} to {fit.lengths[-1]:,}"
    )


def ms(value: float) -> str:
    """Milliseconds to three digits, hundredths at the finest."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def gib(size: float) -> str:
    return f"{size / 2**30:.2f}"


def distinct(values: Sequence[str]) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys(values))
