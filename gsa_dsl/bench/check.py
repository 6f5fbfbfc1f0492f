"""No speed without a right result: rows at the real length, and everything at a short one, against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gsa_dsl.bench.choice import chosen_units
from gsa_dsl.bench.records import Checked
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.reference.visible import visible_keys
from gsa_dsl.results import Aux, Selection
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.compare import compare_selection
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.scored import Scored
from gsa_dsl.testing.tolerance import deviation
from gsa_dsl.testing.verify import verify

ROWS = 16
"""Places in the sequence that are looked at."""
MOST = 4
"""Queries that are looked at in a place, where they share a choice."""
GRADIENTS_AT = 4133
"""Where gradients are compared: beyond the budgets of the examples, no multiple of a tile."""


class WrongResult(RuntimeError):
    """A result misses the reference's by more than rounding explains; the message says what and where."""


def places(spec: CheckedSpec, length: int, count: int) -> list[slice]:
    """Some queries in ``count`` places spread over the sequence, from the first of those that share a choice on."""
    run = spec.selection.queries if spec.selection is not None else 1
    found: dict[int, slice] = {}
    for t in torch.linspace(0, length - 1, count).long().tolist():
        start = t // run * run
        found[start] = slice(start, min(t + 1, start + MOST, length))
    return list(found.values())


def check_rows(compiled: CompiledAttention, inputs: Inputs, rows: int = ROWS) -> tuple[int, float]:
    """Compare choice, output and log-sum-exp of queries in ``rows`` places with the reference at the same choice.

    What is allowed is a multiple of eager torch's error in the same precision, as in
    :func:`gsa_dsl.testing.verify.verify`. Both ways of the kernels are held against it, with and without gradients.
    Returns how many queries were compared, and the worst error as a share of what is allowed.

    Raises:
        WrongResult: something is further off.
    """
    spec = compiled.spec
    with torch.no_grad():
        streamed = compiled(inputs.query, inputs.key, inputs.value, **inputs.keywords())
        output, aux = compiled(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)
        chosen = aux.selection if spec.selection is not None else None
        if spec.selection is not None and chosen is None:
            raise WrongResult(f"{spec.name}: no selection was returned")
        found = places(spec, inputs.query.shape[2], rows)
        # In float64 the operands fill much of a GPU: of the results only what is compared is kept.
        results = {"output": output, "output (inference)": streamed, "lse": aux.lse}
        kept = [{name: x[:, :, place].clone() for name, x in results.items()} for place in found]
        del output, streamed, results
        if chosen is not None:
            scored = Scored(spec, inputs, inputs.query.dtype)
            for place in found:
                _check_choice(spec, inputs, aux, scored, place)
            del scored
        compared = zip(kept, found, strict=True)
        worst = max(check_place(spec, inputs, part, chosen, place) for part, place in compared)
    return sum(place.stop - place.start for place in found), worst


def check_place(
    spec: CheckedSpec, inputs: Inputs, results: dict[str, Tensor], chosen: Selection | None, place: slice
) -> float:
    """The worst error in a place, as a share of what is allowed, of ``results`` there: outputs, and ``lse``, by name.

    Raises:
        WrongResult: one is further off.
    """
    mask = None
    if chosen is not None:
        keys = place.stop if spec.causal else inputs.query.shape[2]
        mask = chosen_units(spec, chosen, place, keys)
    exact, eager = (_reference(spec, inputs, place, dtype, mask) for dtype in (torch.float64, inputs.query.dtype))
    size = torch.where(exact.lse.isfinite(), exact.lse.abs(), 0.0).amax().item()
    worst = 0.0
    for name, result in results.items():
        kind = "lse" if name == "lse" else "output"
        off = deviation(
            result,
            getattr(exact, kind),
            getattr(eager, kind),
            inputs.query.dtype,
            logits=0.0 if kind == "lse" else size,
        )
        if not off.ok:
            raise WrongResult(
                f"{spec.name}: {name} of query {place.start} is off by {off.error:.3g}, {off.allowed:.3g} is allowed"
            )
        worst = max(worst, off.error / off.allowed if off.allowed else 0.0)
    return worst


def check_gradients(compiled: CompiledAttention, length: int, device: torch.device, dtype: torch.dtype) -> int:
    """Compare every quantity and every gradient at a length of at most ``length``, which is returned.

    Raises:
        WrongResult: one is off.
    """
    at = min(length, GRADIENTS_AT)
    report = verify(compiled, shapes=[(1, at)], dtype=dtype, device=device, patterns=("normal",), phases=("sparse",))
    if not report.ok:
        row = report.failures[0]
        raise WrongResult(
            f"{compiled.spec.name}: {row.quantity} at {at} tokens is off by {row.error:.3g}, "
            f"{row.allowed:.3g} is allowed {row.note}".rstrip()
        )
    return at


def checked(
    compiled: CompiledAttention, inputs: Inputs, gradients: Callable[[], int] | None, rows: int = ROWS
) -> Checked:
    """Everything that is checked before times are taken; ``gradients`` compares those, once for many lengths."""
    at = None if gradients is None else gradients()
    compared, worst = check_rows(compiled, inputs, rows)
    return Checked(compared, worst, at)


def _check_choice(spec: CheckedSpec, inputs: Inputs, aux: Aux, scored: Scored, place: slice) -> None:
    """Hold the choice of the queries in a place against their scores. Raises WrongResult."""
    assert aux.selection is not None
    free = _reference(spec, inputs, place, torch.float64, None)
    batch, _, length, _ = inputs.query.shape
    tokens = visible_keys(spec, batch, length, inputs.query.device, inputs.documents, place)
    mask = chosen_units(spec, aux.selection, place, tokens.shape[-1])
    state = inputs.ema if inputs.ema is not None else torch.zeros(0, device=inputs.query.device)
    budget = None if aux.budget is None else aux.budget[..., place]
    errors, alike = scored.row_errors(tokens, place), scored.alike(tokens)
    report = compare_selection(spec, mask, budget, free, state.double(), errors, alike, place.start)
    if not report.ok:
        raise WrongResult(f"{spec.name}: choice of query {place.start}: {'; '.join(report.problems)}")


def _reference(
    spec: CheckedSpec, inputs: Inputs, place: slice, dtype: torch.dtype, mask: Tensor | None
) -> ReferenceResult:
    keywords: dict[str, Any] = inputs.keywords()
    return reference(spec, inputs.query, inputs.key, inputs.value, **keywords, selection=mask, dtype=dtype, rows=place)
