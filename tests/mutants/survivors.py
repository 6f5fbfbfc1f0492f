"""Mutants that verification cannot tell from the compiler, and why: they compute the same, or what nobody sees."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "templates/macros/common.jinja: forced keys compete": "the last keys are chosen in any case, and come after all "
    "that could tie with them; the budget is counted elsewhere",
    "templates/kernels/score.py.jinja: whole blocks are taken for seen too early": "what is written for keys that a "
    "query does not see is never read: every reader has the mask again",
}
