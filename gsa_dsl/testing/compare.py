"""Whether a selection made in low precision is one that rounding explains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gsa_dsl.reference.dense import ReferenceResult
from gsa_dsl.reference.statistics import budget_values
from gsa_dsl.reference.visible import forced_units
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.tolerance import FACTOR


@dataclass(frozen=True, slots=True)
class Alike:
    """Units of one of the ``kinds [N, C]`` score alike for a query that sees them ``whole [N, L, C]``."""

    kinds: Tensor
    whole: Tensor


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """A selection beside the reference's, of units and of kv heads that choose.

    ``differing`` keys of ``selected`` are not the reference's, or the other way round. ``gap``: how far, at worst, the
    best key left out scores above the worst key taken; ``allowed``: what rounding explains in that row. ``wrong``
    counts what no rounding explains, by what it is.
    """

    differing: int
    selected: int
    gap: float
    allowed: float
    wrong: Mapping[str, int]

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What no rounding explains, a line a kind."""
        return tuple(f"{number} {what}" for what, number in self.wrong.items() if number)

    def __add__(self, other: SelectionReport) -> SelectionReport:
        """That of the rows of both."""
        worse = max(self, other, key=lambda report: report.gap - report.allowed)
        wrong = {what: self.wrong.get(what, 0) + number for what, number in other.wrong.items()}
        return SelectionReport(
            self.differing + other.differing, self.selected + other.selected, worse.gap, worse.allowed, wrong
        )


def compare_selection(
    spec: CheckedSpec,
    mask: Tensor,
    budget: Tensor | None,
    exact: ReferenceResult,
    state: Tensor,
    score_error: Tensor,
    alike: Alike | None,
    begin: int = 0,
) -> SelectionReport:
    """Hold ``mask`` and ``budget`` against the reference's own; both in units, per kv head where those choose.

    All is of the queries from position ``begin`` on, where a run that shares a choice begins.

    ``exact`` is the reference on the same inputs and ``state`` the ema vector it used. ``score_error [N, L]`` is what a
    score of each row may be off by, N being the choices made at each position. ``alike``: of units that are, whose
    scores are equal in every precision, the earlier ones must be taken. Where queries share a choice, that of the first
    is compared, and the others must have it. Raises ValueError for a spec that selects nothing by score.
    """
    if spec.selection is None or exact.scores is None or exact.budget_exact is None:
        raise ValueError(f"'{spec.name}' selects nothing by score")
    mask, chosen, sees = (folded(spec, x) for x in (mask, exact.selected, exact.visible))
    run = spec.selection.queries
    forced = forced_units(spec, sees, begin)
    own = sees & ((mask & ~forced)[:, ::run].repeat_interleave(run, 1)[:, : mask.shape[1]] | forced)
    wrong = {
        "keys that the query does not see were selected": mask & ~sees,
        "forced keys are missing": forced & ~mask,
        "rows do not have the choice that they share": (mask != own).any(-1),
    }
    row = _Rows.first(spec, mask, exact, score_error, begin)
    taken, left = row.taken, row.candidates & ~row.taken
    count = taken.sum(-1)
    unscored = row.mask & row.visible & ~row.forced & ~row.scores.isfinite()
    wrong["keys with a score that is not finite were selected"] = unscored
    low, high = budget_range(spec, exact, state, score_error)
    available = row.candidates.sum(-1)
    outside = (count < torch.minimum(low, available)) | (count > torch.minimum(high, available))
    wrong["rows hold a number of keys that rounding of the budget does not explain"] = outside
    used = count.repeat_interleave(run, 1)[:, : mask.shape[1]]
    if budget is None:
        wrong["rows report no budget"] = torch.ones_like(used)
    else:
        wrong["rows report another budget than they use"] = folded(spec, budget).to(used) != used

    best_left = torch.where(left, row.scores, -torch.inf).amax(-1)
    worst_taken = torch.where(taken, row.scores, torch.inf).amin(-1)
    gap = torch.where((count > 0) & left.any(-1), best_left - worst_taken, 0.0)
    allowed = 2 * row.error  # both keys may be off
    wrong["rows left out a key that scores clearly more than one they took"] = gap > allowed
    if alike is not None:
        whole = alike.whole[:, ::run]
        wrong["rows took the later of two equal keys"] = _later_of_equals(taken & whole, left & whole, alike.kinds)
    nothing = row.scores == 0.0  # as relu makes: equal in every precision too, whatever the vectors
    wrong["rows took the later of two scores of 0"] = _later_taken(taken & nothing, left & nothing)
    worst = (gap - allowed).flatten().argmax()
    return SelectionReport(
        differing=int((mask ^ chosen).sum()),
        selected=int(chosen.sum()),
        gap=gap.flatten()[worst].item(),
        allowed=allowed.flatten()[worst].item(),
        wrong={what: int(where.sum()) for what, where in wrong.items()},
    )


def folded(spec: CheckedSpec, x: Tensor) -> Tensor:
    """What is said of a choice, with kv heads that choose for themselves as part of the batch."""
    return x.flatten(0, 1) if spec.selection is not None and spec.selection.per_kv_head else x


@dataclass(frozen=True, slots=True)
class _Rows:
    """The first query of every run that shares a choice: its mask, its units, their scores, and what those are off by.

    ``candidates`` could be chosen by score; ``taken`` of them were.
    """

    mask: Tensor
    scores: Tensor
    visible: Tensor
    forced: Tensor
    error: Tensor

    @staticmethod
    def first(spec: CheckedSpec, mask: Tensor, exact: ReferenceResult, error: Tensor, begin: int) -> _Rows:
        assert spec.selection is not None
        assert exact.scores is not None
        run = spec.selection.queries
        visible = folded(spec, exact.visible)
        forced = forced_units(spec, visible, begin)
        every = (mask, folded(spec, exact.scores), visible, forced, error)
        return _Rows(*(x[:, ::run] for x in every))

    @property
    def candidates(self) -> Tensor:
        return self.visible & ~self.forced & self.scores.isfinite()

    @property
    def taken(self) -> Tensor:
        return self.mask & self.candidates


def budget_range(
    spec: CheckedSpec, exact: ReferenceResult, state: Tensor, score_error: Tensor
) -> tuple[Tensor, Tensor]:
    """The least and the largest budget of each row, int64 ``[N, rows]``, that scores off by ``score_error`` explain.

    Measured by evaluating the budget on disturbed scores (all up, all down, by a factor or alike; random signs), plus
    what a float32 sum over a row may lose. ``top_p`` is also looked up at the nearest shares that rounding could make
    of its own: scores off by e change the odds of a set of keys, its share over the rest's, by at most exp(2 e).
    """
    if spec.selection is None or exact.scores is None or exact.budget_exact is None:
        raise ValueError(f"'{spec.name}' selects nothing by score")
    run = spec.selection.queries
    each = (folded(spec, x)[:, ::run] for x in (exact.budget_exact, exact.scores, exact.visible))
    value, scores, visible = each
    score_error = score_error[:, ::run]
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


def _later_of_equals(taken: Tensor, left: Tensor, kinds: Tensor) -> Tensor:
    """Rows, bool ``[N, rows]``, in which a key was taken and an earlier candidate of the same kind was not."""
    found = []
    for b in range(taken.shape[0]):
        rows, length = taken.shape[1:]
        place = torch.arange(length, device=kinds.device).expand(rows, length)
        kind, most = kinds[b].expand(rows, length), int(kinds[b].max()) + 1
        last_taken = place.new_full((rows, most), -1)
        last_taken = last_taken.scatter_reduce(1, kind, torch.where(taken[b], place, -1), "amax")
        first_left = place.new_full((rows, most), length)
        first_left = first_left.scatter_reduce(1, kind, torch.where(left[b], place, length), "amin")
        found.append((last_taken > first_left).any(-1))
    return torch.stack(found)


def _later_taken(taken: Tensor, left: Tensor) -> Tensor:
    """Rows, bool ``[B, L]``, in which a key of ``taken`` comes after one of ``left``."""
    place = torch.arange(taken.shape[-1], device=taken.device)
    return torch.where(taken, place, -1).amax(-1) > torch.where(left, place, taken.shape[-1]).amin(-1)
