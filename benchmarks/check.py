"""No speed without a right result: rows of the kernels' output and choice against eager float64."""

from __future__ import annotations

from types import ModuleType

import torch

import gsa_dsl
from gsa_dsl.compiler import CompiledAttention, Selection
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
    eager = gsa_dsl.compile(**{**compiled.recipe, "backend": "torch"}).kernels
    length = inputs.query.shape[2]
    at = torch.linspace(0, length - 1, rows, device="cuda").long()
    with torch.no_grad():
        out, aux = compiled(inputs.query, inputs.key, inputs.value, **inputs.keywords(), return_aux=True)
        worst = 0.0
        for t in sorted(set(at.tolist())):
            sees = _chosen(compiled, aux.selection, t, length)
            if aux.selection is not None:
                _check_choice(eager, inputs, int(aux.budget[0, t]), sees, t)
            value = inputs.value.double()
            gates = {gate["target"]: gate for gate in compiled.meta["gates"]}
            if "value" in gates:
                value = value * eager.value_gate(_gate(inputs, gates["value"]))
            want = eager.attend(inputs.query[:, :, t : t + 1].double(), inputs.key.double(), value, sees)[0]
            if "output" in gates:
                want = want * eager.output_gate(_gate(inputs, gates["output"])[:, :, t : t + 1])
            error = ((out[:, :, t : t + 1].double() - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()
            # Written so that a NaN fails.
            if not error <= TOLERANCE:
                raise WrongResult(f"{compiled.meta['name']}: output of query {t} is off by {error:.3g} of its largest")
            worst = max(worst, error)
    return worst


def _gate(inputs: Inputs, gate: dict[str, str]) -> torch.Tensor:
    assert inputs.gates is not None
    z = inputs.gates[gate["name"]].double()
    return z if gate["granularity"] == "element" else z[..., None]


def _chosen(compiled: CompiledAttention, selection: Selection | None, t: int, length: int) -> torch.Tensor:
    """The keys query ``t`` attends to, [1, 1, length] bool."""
    s = torch.arange(length, device="cuda")
    spec = compiled.spec
    if selection is None:
        sees = s <= t
        if spec.forced.first or spec.forced.last:
            sees = sees & ((s < spec.forced.first) | (s > t - spec.forced.last))
        return sees[None, None]
    lists = selection.lists
    tile, r = divmod(t, selection.module.TILE.value)
    count = int(lists.count[0, tile])
    bit = (lists.word[0, tile, :count].to(torch.int32) >> r) & 1
    sees = torch.zeros(length, dtype=torch.bool, device="cuda")
    sees[lists.pos[0, tile, :count][bit == 1].long()] = True
    return sees[None, None]


def _check_choice(eager: ModuleType, inputs: Inputs, budget: int, sees: torch.Tensor, t: int) -> None:
    index = inputs.index
    assert index is not None
    tensors = [index["q"][:, :, t : t + 1], index["k"][:, : t + 1]]
    tensors += [index["w"][:, :, t : t + 1]] if "w" in index else []
    tensors += [index["b"]] if "b" in index else []
    score = eager.scores(*(x.double() for x in tensors))[0, 0]
    chosen = sees[0, 0, : t + 1]
    if int(chosen.sum()) < budget or bool(sees[0, 0, t + 1 :].any()):
        raise WrongResult(f"query {t} chose {int(chosen.sum())} keys, some later than itself or fewer than {budget}")
    forced = int(chosen.sum()) - budget
    if forced or budget == t + 1:
        return
    gap = (score[~chosen].max() - score[chosen].min()).item()
    if not gap <= TIE * score.abs().max().item():
        raise WrongResult(f"query {t} left out a key that scores {gap:.3g} more than one it chose")
