"""Specs for tests: load one from text or a file, and shrink its parameters so that short inputs exceed its budget."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.library import load
from gsa_dsl.sema.check import check, parse_and_check
from gsa_dsl.sema.typed import CheckedSpec

Params = Mapping[str, int | float]

_LARGER = 1.5
"""How much larger parameters are taken that are too small for the spec: below a literal, or outside of a bound."""


def load_spec(path_or_text: str | os.PathLike[str], params: Params | None = None) -> CheckedSpec:
    """Parse and check a spec: a path, or a text that contains a brace. Raises SpecError with every mistake."""
    text = os.fspath(path_or_text)
    source = Source("<string>", text) if "{" in text else load(text)
    return parse_and_check(source, params or {})


def most_keys(spec: CheckedSpec) -> int | None:
    """The largest number of keys that a query can attend to, whatever the length; None for a dense spec."""
    chosen, block = (spec.selection.most, spec.selection.block) if spec.selection is not None else (0, 1)
    total = (chosen + spec.forced.most(causal=spec.causal)) * block
    return total or None


def small_params(spec: CheckedSpec, length: int = 48) -> dict[str, int | float]:
    """Parameters under which no query of ``spec`` attends to more than about a quarter of ``length`` keys, or as few as
    its literals and bounds allow.

    Those that move the budget or the forced keys are scaled down together, integers to at least 1 and sizes of blocks
    or runs of queries to a power of two; values up to 1 are taken for shares and kept. Returns all parameters: the
    spec's own where it is dense, small enough or all literals.
    """
    params = dict(spec.params)
    most = most_keys(spec)
    if most is None or most <= length // 4:
        return params
    factor = (length // 4) / most
    moving, sizes = [name for name in params if _moves_budget(spec, name)], _sizes(spec)
    while factor < 1:
        scaled = params | {name: _scaled(params[name], factor) for name in moving}
        scaled |= {name: max(2, 1 << int(scaled[name]).bit_length() - 1) for name in sizes}
        try:
            check(spec.tree, scaled)
        except SpecError:
            factor *= _LARGER
        else:
            return scaled
    return params


def _moves_budget(spec: CheckedSpec, name: str) -> bool:
    """Whether another value of the parameter ``name`` changes what is selected."""
    value = dict(spec.params)[name]
    for other in (_scaled(value, 0.5), value * 2):
        try:
            changed = check(spec.tree, {**dict(spec.params), name: other})
        except SpecError:
            continue  # out of its range, or against another parameter: the other direction decides
        return (changed.selection, changed.forced) != (spec.selection, spec.forced)
    return False


def _sizes(spec: CheckedSpec) -> list[str]:
    """The parameters that are the size of a block or of a run of queries."""
    selects = [clause for clause in spec.tree.clauses if isinstance(clause, ast.Select)]
    sizes = [size for clause in selects for size in (clause.size, *(option.size for option in clause.options))]
    return [size.id for size in sizes if isinstance(size, ast.Name)]


def _scaled(value: int | float, factor: float) -> int | float:
    if abs(value) <= 1:
        return value
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor
