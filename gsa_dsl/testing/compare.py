"""Whether a selection made in low precision is one that rounding explains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gsa_dsl.reference.dense import ReferenceResult
from gsa_dsl.reference.statistics import budget_values
from gsa_dsl.reference.visible import forced_keys
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.tolerance import FACTOR


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """A selection beside the reference's.

    ``differing`` keys of ``selected`` are not the reference's, or the other way round. ``gap``: how far, at worst, the
    best key left out scores above the worst key taken; ``allowed``: what rounding explains in that row. ``problems``
    says what no rounding explains, one line a kind.
    """

    differing: int
    selected: int
    gap: float
    allowed: float
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def compare_selection(
    spec: CheckedSpec,
    mask: Tensor,
    budget: Tensor | None,
    exact: ReferenceResult,
    state: Tensor,
    score_error: Tensor,
    index_keys: Tensor,
) -> SelectionReport:
    """Hold ``mask [B, L, L]`` and ``budget [B, L]`` against the reference's own.

    ``exact`` is the reference on the same inputs and ``state`` the ema vector it used. ``score_error [B, L]`` is what a
    score of each row may be off by. ``index_keys [B, L, dI]``: of equal vectors, whose scores are equal in every
    precision, the earlier ones must be taken. Raises ValueError for a spec that selects nothing by score.
    """
    if spec.selection is None or exact.scores is None or exact.budget_exact is None:
        raise ValueError(f"'{spec.name}' selects nothing by score")
    scores, visible = exact.scores, exact.visible
    forced = forced_keys(spec, visible)
    candidates = visible & ~forced & scores.isfinite()
    taken, left = mask & candidates, candidates & ~mask
    count = taken.sum(-1)

    problems = [
        _count(mask & ~visible, "keys that the query does not see were selected"),
        _count(mask & visible & ~forced & ~scores.isfinite(), "keys with a score that is not finite were selected"),
        _count(forced & ~mask, "forced keys are missing"),
    ]
    low, high = budget_range(spec, exact, state, score_error)
    available = candidates.sum(-1)
    wrong = (count < torch.minimum(low, available)) | (count > torch.minimum(high, available))
    problems.append(_count(wrong, "rows hold a number of keys that rounding of the budget does not explain"))
    if budget is None:
        problems.append("no budget was reported")
    else:
        problems.append(_count(budget.to(count) != count, "rows report another budget than they use"))

    best_left = torch.where(left, scores, -torch.inf).amax(-1)
    worst_taken = torch.where(taken, scores, torch.inf).amin(-1)
    gap = torch.where((count > 0) & left.any(-1), best_left - worst_taken, 0.0)
    allowed = 2 * score_error  # both keys may be off
    problems.append(_count(gap > allowed, "rows left out a key that scores clearly more than one they took"))
    problems.append(_count(_later_of_equals(taken, left, index_keys), "rows took the later of two equal keys"))
    nothing = scores == 0.0  # as relu makes: equal in every precision too, whatever the vectors
    problems.append(_count(_later_taken(taken & nothing, left & nothing), "rows took the later of two scores of 0"))
    row = (gap - allowed).flatten().argmax()
    return SelectionReport(
        differing=int((mask ^ exact.selected).sum()),
        selected=int(exact.selected.sum()),
        gap=gap.flatten()[row].item(),
        allowed=allowed.flatten()[row].item(),
        problems=tuple(problem for problem in problems if problem),
    )


def budget_range(
    spec: CheckedSpec, exact: ReferenceResult, state: Tensor, score_error: Tensor
) -> tuple[Tensor, Tensor]:
    """The least and the largest budget of each row, int64 ``[B, L]``, that scores off by ``score_error`` explain.

    Measured by evaluating the budget on disturbed scores (all up, all down, by a factor or alike; random signs), plus
    what a float32 sum over a row may lose. ``top_p`` is also looked up at the nearest shares that rounding could make
    of its own: scores off by e change the odds of a set of keys, its share over the rest's, by at most exp(2 e).
    """
    if spec.selection is None or exact.scores is None or exact.budget_exact is None:
        raise ValueError(f"'{spec.name}' selects nothing by score")
    value, scores, visible = exact.budget_exact, exact.scores, exact.visible
    if not spec.selection.adaptive:
        return value.floor().long(), value.floor().long()
    size = torch.where(scores.isfinite(), scores.abs(), 0.0).amax(-1).clamp(min=1e-300)
    factor = (score_error / size).unsqueeze(-1)
    generator = torch.Generator(scores.device).manual_seed(0)
    signs = torch.randint(0, 2, scores.shape, generator=generator, device=scores.device) * 2 - 1
    error = score_error.unsqueeze(-1)
    changes = (scores * factor, signs * error, error)
    disturbed = [scores + sign * change for change in changes for sign in (1, -1)]
    found = [budget_values(spec.selection, x, visible, state) for x in disturbed]
    lost = visible.sum(-1) * torch.finfo(torch.float32).eps

    def share(sign: int) -> Callable[[float], Tensor]:
        odds = (2 * sign * score_error).exp()
        return lambda p: (p * odds / (1 - p + p * odds) * (1 + sign * lost)).clamp(max=1)

    found += [budget_values(spec.selection, scores, visible, state, share(sign)) for sign in (1, -1)]
    off = FACTOR * (torch.stack(found) - value).abs().amax(0) + value.abs() * lost
    return (value - off).floor().long().clamp(min=0), (value + off).floor().long().clamp(max=spec.selection.most)


def _later_of_equals(taken: Tensor, left: Tensor, index_keys: Tensor) -> Tensor:
    """Rows, bool ``[B, L]``, in which a key was taken and an earlier candidate with the same vector was not."""
    rows = []
    for b in range(taken.shape[0]):
        _, kind = torch.unique(index_keys[b].nan_to_num(), dim=0, return_inverse=True)
        length = kind.shape[0]
        place = torch.arange(length, device=kind.device).expand(length, length)
        kinds = kind.expand(length, length)
        last_taken = torch.full_like(place, -1, memory_format=torch.contiguous_format)
        last_taken = last_taken.scatter_reduce(1, kinds, torch.where(taken[b], place, -1), "amax")
        first_left = torch.full_like(place, length, memory_format=torch.contiguous_format)
        first_left = first_left.scatter_reduce(1, kinds, torch.where(left[b], place, length), "amin")
        rows.append((last_taken > first_left).any(-1))
    return torch.stack(rows)


def _later_taken(taken: Tensor, left: Tensor) -> Tensor:
    """Rows, bool ``[B, L]``, in which a key of ``taken`` comes after one of ``left``."""
    place = torch.arange(taken.shape[-1], device=taken.device)
    return torch.where(taken, place, -1).amax(-1) > torch.where(left, place, taken.shape[-1]).amin(-1)


def _count(wrong: Tensor, what: str) -> str:
    number = int(wrong.sum())
    return f"{number} {what}" if number else ""
