"""Spelling: the word the author most likely meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate spelt most like ``word`` (letter case aside), or None if none is near."""
    folded = {candidate.casefold(): candidate for candidate in sorted(candidates, reverse=True)}
    matches = get_close_matches(word.casefold(), sorted(folded), n=1)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing when no candidate is near."""
    match = closest(word, candidates)
    return f"did you mean '{match}'?" if match is not None else ""
