"""Why a causal, batch-invariant attention cannot read what an expression asked for: every leak, explained.

Causality is decided by types alone. Each tensor has one signature (a query's own position indexes q and w, a key's
position indexes k), a reduction runs over indexer heads only, and a row statistic ends at s = t; so an expression whose
free index variables fit its clause cannot depend on a later position or on another sequence of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.ops import LEVELS


@dataclass(frozen=True, slots=True)
class Leak:
    """What to tell about one leak."""

    message: str
    reason: str
    fix: str


_STATE = "use a running mean, 'ema(...)': it is read from before this step and frozen at evaluation"


def reduction(op: str, index: str, noun: str) -> Leak:
    """``op(index)`` over anything but the indexer's heads."""
    name = noun.removeprefix("the ")
    if index == "t":
        return Leak(
            f"'{op}(t)' reduces over queries",
            f"'{op}' over t lets position 90 change {noun} of position 10, and a reduction over all queries runs "
            "over the batch too: one sequence changes another's",
            _STATE if name == "budget" else "leave the reduction out: position t sees only itself",
        )
    if index == "s":
        fix = "use a statistic of the row: " + (
            "'mean(score[t]) * count(score[t])'" if op == "sum" else f"'{op}(score[t])'"
        )
        return Leak(
            f"'{op}(s)' reduces over keys",
            f"'{op}' over s has no end at s = t: it lets position 90 change {noun} of position 10",
            fix if name == "budget" else "leave the reduction out",
        )
    if index == "j":
        return Leak(
            f"{noun} has no indexer heads to reduce over",
            "'j' counts the indexer's heads, which only the score sees",
            "reduce inside 'score[t, s] = ...'",
        )
    over = {"h": "query heads", "g": "kv heads", "d": "features"}[index]
    reason = f"{noun} is one for all {over}" if name in ("score", "budget") else f"{over} do not see one another"
    return Leak(
        f"'{op}({index})' reduces over {over}",
        f"{reason}; only the score reduces, over the indexer's heads j",
        "leave the reduction out" if name != "score" else f"write '{op}(j)'",
    )


def whole_batch(op: str, written: str, noun: str) -> Leak:
    """A statistic of something that is not one row of scores."""
    return Leak(
        f"'{op}({written})' is not a statistic of one row",
        f"'{op}' of one number a query runs over every query and every sequence: position 90 changes {noun} of "
        "position 10, and one sequence changes another's",
        _STATE,
    )


def usage(op: str) -> str:
    """How the row statistic ``op`` is called."""
    return f"{op}(score[t], {LEVELS[op]})" if op in LEVELS else f"{op}(score[t])"


def all_scores(op: str, noun: str) -> Leak:
    """A statistic of ``score`` without its row."""
    return Leak(
        f"'{op}(score)' takes the scores of all queries",
        f"'{op}' over every row lets position 90 change {noun} of position 10, and one sequence change another's",
        f"write '{usage(op)}': the row of query t, over the keys it sees",
    )


def other_row(op: str, indices: tuple[str, ...]) -> Leak:
    """A statistic of ``score[...]`` with other indices than ``[t]``."""
    written = f"score[{', '.join(indices)}]"
    reason = "a statistic is taken over the row of query t, every key it sees"
    if indices == ("s",):
        reason += "; the row of position s belongs to another query"
    if "s" in indices and "t" in indices:
        reason += "; with both indices it is a single number"
    return Leak(f"'{op}({written})' is not a statistic of query t's row", reason, f"write '{usage(op)}'")


def signature(tensor: str, indices: tuple[str, ...], wanted: tuple[str, ...], noun: str) -> Leak:
    """``tensor`` read at ``indices`` that are not those ``wanted``, its own in an expression for ``noun``."""
    right, written = (f"{tensor}[{', '.join(names)}]" if names else tensor for names in (wanted, indices))
    reasons = _LOGIT_READS if noun == "the logit" else _SCORE_READS
    reason = reasons[tensor]
    if "j" in indices and "j" not in wanted and noun == "the logit":
        reason = "j counts the indexer's heads; a logit belongs to a query head of the attention, which is implied"
    return Leak(f"'{written}' should be '{right}'", reason, f"write '{right}'")


_SCORE_READS = {
    "q": "q is what query t asks for: a query is read at its own position, else the choice of one query leaks "
    "into another's",
    "k": "k is what key s offers, one head shared by all: read at t, the score is the same for every key and "
    "leaks the query's own position into all of them",
    "w": "w weighs the heads for query t: read at another position, one query's weights leak into another's score",
    "b": "b holds one number an indexer head, for all positions",
}
_LOGIT_READS = {
    "q": "q is what query t asks for: read at another position, one query's weights leak into another's",
    "k": "k is what key s offers: read at t, the logit is the same for every key",
    "slope": "a slope belongs to a query head, for all positions",
    "score": "the logit of query t and key s reads the score of that pair: at other positions one query's scores "
    "leak into another's weights",
    "distance": "distance is t - s of the pair at hand, a number",
}
