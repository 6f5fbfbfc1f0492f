"""No speed without a right result: rows of the kernels' output and choice against eager float64."""

from __future__ import annotations

import torch
from torch import Tensor

import gsa_dsl
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.reference.scores import unit_scores
from gsa_dsl.reference.units import at_tokens, seen_units
from gsa_dsl.reference.visible import forced_units
from gsa_dsl.results import Selection
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.inputs import Inputs


class WrongResult(RuntimeError):
    """The kernels' result misses the eager one by more than their precision allows."""


TOLERANCE = 0.02
"""Of the largest magnitude: bf16 keeps 8 bits, and p is rounded to bf16 before it meets v."""
TIE = 1e-4
"""Scores this close, relative to the row's largest, may be ordered either way by float32 arithmetic."""


def check_rows(compiled: CompiledAttention, inputs: Inputs, rows: int = 24) -> float:
    """Compare ``rows`` queries spread over the sequence; returns the worst error, relative to the largest output.

    Raises:
        WrongResult: an output, or a key that was chosen without being among the best, is wrong.
    """
    eager, spec = gsa_dsl.compile(**{**compiled.recipe, "backend": "torch"}).kernels, compiled.spec
    length, run = inputs.query.shape[2], spec.selection.queries if spec.selection is not None else 1
    with torch.no_grad():
        out, aux = compiled(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)
        parts = inputs.scored_by(spec, torch.float64)
        value = inputs.value.double()
        gates = {gate["target"]: gate for gate in compiled.meta["gates"]}
        if "value" in gates:
            value = value * eager.value_gate(_gate(inputs, gates["value"]))
        worst = 0.0
        for t in sorted({int(x) // run * run for x in torch.linspace(0, length - 1, rows)}):
            seen = (torch.arange(length, device=inputs.query.device) <= t)[None, None]
            units = None if aux.selection is None else _chosen(aux.selection, t, length)
            if units is not None:
                _check_choice(spec, parts, aux.budget.flatten(0, -2)[:, t], units, seen, t)
                seen = seen & at_tokens(units, spec.selection.block, length)[:, None]
            elif spec.forced.first or spec.forced.last:
                seen = forced_units(spec, seen, t)
            want = eager.attend(inputs.query[:, :, t : t + 1].double(), inputs.key.double(), value, seen)[0]
            if "output" in gates:
                want = want * eager.output_gate(_gate(inputs, gates["output"])[:, :, t : t + 1])
            error = ((out[:, :, t : t + 1].double() - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()
            # Written so that a NaN fails.
            if not error <= TOLERANCE:
                raise WrongResult(f"{compiled.meta['name']}: output of query {t} is off by {error:.3g} of its largest")
            worst = max(worst, error)
    return worst


def _gate(inputs: Inputs, gate: dict[str, str]) -> Tensor:
    assert inputs.gates is not None
    z = inputs.gates[gate["name"]].double()
    return z if gate["granularity"] == "element" else z[..., None]


def _chosen(selection: Selection, t: int, length: int) -> Tensor:
    """The units that query ``t`` attends to, [choices, units] bool: a row for every kv head that chooses."""
    lists, module = selection.lists, selection.module
    tile, r = divmod(t, module.TILE.value)
    listed = torch.arange(lists.pos.shape[2], device=lists.pos.device) < lists.count[:, tile, None]
    bit = (lists.word[:, tile].to(torch.int32) >> r) & 1
    chosen = torch.zeros(lists.pos.shape[0], selection.shape[-1], dtype=torch.int32, device=lists.pos.device)
    chosen.scatter_add_(1, torch.where(listed, lists.pos[:, tile], 0).long(), torch.where(listed, bit, 0))
    return chosen > 0


def _check_choice(
    spec: CheckedSpec, parts: dict[str, Tensor], budget: Tensor, units: Tensor, seen: Tensor, t: int
) -> None:
    assert spec.selection is not None
    scores = unit_scores(spec, parts, seen, slice(t, t + 1))[:, 0]
    columns = seen_units(seen, spec.selection.block)
    forced, columns = forced_units(spec, columns, t)[:, 0], columns[:, 0]
    if bool((units & ~columns).any()) or bool((forced & ~units).any()):
        raise WrongResult(f"query {t} chose what it does not see, or not what it always attends to")
    candidates = columns & ~forced & scores.isfinite()
    taken = units & candidates
    if bool((taken.sum(-1) != budget).any()):
        raise WrongResult(f"query {t} chose {taken.sum(-1).tolist()} by score, its budget is {budget.tolist()}")
    left = torch.where(candidates & ~units, scores, -torch.inf).amax(-1)
    gap = (left - torch.where(taken, scores, torch.inf).amin(-1)).clamp_min(0).max().item()
    if not gap <= TIE * torch.where(candidates, scores.abs(), 0.0).max().item():
        raise WrongResult(f"query {t} left out a key that scores {gap:.3g} more than one it chose")
