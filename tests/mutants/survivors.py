"""Mutants that verification cannot tell from the compiler, and why: they compute the same, or what nobody sees."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
