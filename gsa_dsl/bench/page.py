"""The results page: every table and plot of some records, and the commands that made them, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gsa_dsl.bench.fit import fits
from gsa_dsl.bench.plots import groups
from gsa_dsl.bench.records import PHASES, Record, Rival, Setting, Timed
from gsa_dsl.bench.stages import stages
from gsa_dsl.bench.table import OURS, distinct, fit_line, gib, ms, overlap_said, share, title, titled

_COUNTED = """\
What is measured and counted:

* A row is printed only after its result was held against the float64 reference: the choice, the output and the
  log-sum-exp of queries spread over the whole sequence, and, at a shorter length, every gradient.
* Times are medians of CUDA events over whole calls after a first one; **forward** is inference with selection
  included, **training** a forward and backward pass with the indexer's loss where the spec has one. In brackets: how
  many times the compiled attention's time a rival takes. Rivals ran in the same process on the same query, key and
  value.
* **Overlap** is the mean Jaccard index of the keys that neighbouring queries choose, measured on the inputs. Inputs are
  normally distributed; what asks for keys drifts along the sequence, as slowly as the overlap aimed at needs.
* "dense causal" attends to every earlier key; "same mask" computes the spec's own attention (mask, logits, sink),
  without its gates.
* FLOPs are those of the [cost formulas](cli.md#explain) at the pairs really attended to, a multiply-add being two; of a
  backward pass five products a pair and head, and the indexer's own. Bytes are every operand and result moved once.
* Floors: those FLOPs at the speed of an 8192 x 8192 x 8192 product in bf16, those bytes at the speed of a copy, both
  measured in the same run; the percentage is the floor's part of the time.
* Stages are sums of kernels' own times by the profiler, one run; "other" is PyTorch's kernels.
* Peak memory is the allocator's over the call, operands included.
"""
_BUSY = """\
* Until the host has launched a call the GPU writes over its cache, as in a model it would have other work: its own time
  counts, not the host's. Launching took {most:.1f} ms at most; it is the `host_ms` of the JSON lines.
"""


def _host(records: Sequence[Record]) -> str:
    """What the times say of the host; nothing where it was not watched."""
    timed = [one for record in records for times in _all_times(record) for one in times.values()]
    known = [one.host_ms for one in timed if one.host_ms is not None]
    if not known or len(known) < len(timed):
        return ""
    return _BUSY.format(most=max(known))


def _all_times(record: Record) -> list[Mapping[str, Timed]]:
    return [record.times, *(rival.times for rival in record.rivals)]


def page(records: Sequence[Record], heading: str, made_by: str, plots: str) -> str:
    """The page. ``made_by``: the command that wrote it; ``plots``: where its plots lie, as the page links to them."""
    parts = [f"# {heading}\n", _settings([record.setting for record in records])]
    commands = distinct([record.command for record in records if record.command])
    parts.append("```text\n" + "\n".join(distinct([*commands, made_by]) if made_by else commands) + "\n```\n")
    parts.append(_COUNTED + _host(records))
    for name, group in groups(records):
        parts.append(f"## {titled(group[0].case)}\n")
        parts += [f"![Time over length]({plots}/{name}_scaling.svg)\n", f"![Roofline]({plots}/{name}_roofline.svg)\n"]
        parts += _sections(group)
    parts += _growth(records)
    parts += _missing(records)
    return "\n".join(parts)


def _settings(settings: Sequence[Setting]) -> str:
    """What was measured on, each once, and the floors found there."""
    machines = distinct(
        [
            f"{x.gpu} (compute capability {x.capability}, driver {x.driver}), torch {x.torch}, triton {x.triton}, "
            f"gsa_dsl {x.gsa_dsl}"
            for x in settings
        ]
    )
    floors = distinct(
        [
            f"{x.matmul_tflops:.0f} TFLOP/s in a matrix product and {x.copy_gb_s / 1e3:.2f} TB/s in a copy"
            for x in settings
        ]
    )
    return f"{'; '.join(machines)}; bf16, batch 1. Measured in the same runs: {'; '.join(floors)}.\n"


def _sections(records: list[Record]) -> list[str]:
    parts = []
    rivals = distinct([_named(rival) for record in records for rival in record.rivals])
    phases = [phase for phase in PHASES if any(phase in record.times for record in records)]
    for phase in phases:
        heads = ["tokens", "overlap", "keys a query", f"{OURS}, ms", *rivals]
        rows = [[*_start(record), f"{record.keys:,.0f}", *_times(record, phase, rivals)] for record in records]
        parts.append(f"### {phase.capitalize()}\n\n{table(heads, rows)}")
    heads = ["tokens", "overlap", "phase", "TFLOP", "TFLOP/s", "GB", "of matmul", "of bandwidth"]
    parts.append(f"### Work and floors\n\n{table(heads, [row for record in records for row in _work(record)])}")
    peaks = [[*_start(record), *_peaks(record, phases, rivals)] for record in records]
    heads = ["tokens", "overlap", *(f"{who}, {phase}" for phase in phases for who in (OURS, *rivals))]
    parts.append(f"### Peak memory, GiB\n\n{table(heads, peaks)}")
    found = [(record, phase, stages(kernels)) for record in records for phase, kernels in record.kernels.items()]
    if found:
        names = distinct([stage for _, _, of in found for stage in of])
        rows = [
            [*_start(record), phase, *(ms(of[stage]) if stage in of else "" for stage in names)]
            for record, phase, of in found
        ]
        parts.append(f"### Stages, ms\n\n{table(['tokens', 'overlap', 'phase', *names], rows)}")
    return parts


def _named(rival: Rival) -> str:
    return f"{rival.name}, {rival.function}"


def _start(record: Record) -> list[str]:
    return [f"{record.case.length:,}", overlap_said(record).removeprefix("overlap ")]


def _times(record: Record, phase: str, rivals: list[str]) -> list[str]:
    ours = record.times.get(phase)
    cells = ["" if ours is None else ms(ours.ms)]
    by_name = {_named(rival): rival for rival in record.rivals}
    for name in rivals:
        timed = by_name[name].times.get(phase) if name in by_name else None
        ratio = f" ({timed.ms / ours.ms:.2f} x)" if timed is not None and ours is not None else ""
        cells.append("" if timed is None else f"{ms(timed.ms)}{ratio}")
    return cells


def _work(record: Record) -> list[list[str]]:
    rows = []
    for phase, timed in record.times.items():
        matmul, copy = record.floors(phase)
        work = record.work[phase]
        figures = [f"{work.flops / 1e12:.3g}", f"{record.tflops(phase):.0f}", f"{work.bytes / 1e9:.3g}"]
        rows.append([*_start(record), phase, *figures, share(matmul, timed), share(copy, timed)])
    return rows


def _peaks(record: Record, phases: list[str], rivals: list[str]) -> list[str]:
    by_name = {_named(rival): rival.times for rival in record.rivals}
    every = [record.times, *(by_name.get(name, {}) for name in rivals)]
    return [gib(times[phase].peak) if phase in times else "" for phase in phases for times in every]


def _growth(records: Sequence[Record]) -> list[str]:
    """What the fits found; nothing where there are none."""
    found = [f"* {fit_line(fit)}\n" for fit in fits(records)]
    said = "Attention alone, by its kernels' own times, over the length; the budget does not grow with it:\n"
    return [f"## Growth\n\n{said}", "".join(found)] if found else []


def _missing(records: Sequence[Record]) -> list[str]:
    """Everything that has no times, with the reason."""
    lines = [f"* {title(record)}: {record.failure}\n" for record in records if record.failure is not None]
    lines += [
        f"* {titled(record.case)} at {record.case.length:,} tokens, {_named(rival)}: {rival.why}\n"
        for record in records
        for rival in record.rivals
        if rival.why is not None
    ]
    return ["## What could not be measured\n", "".join(distinct(lines))] if lines else []


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a ``|`` in a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
