"""Syntax tree to checked spec: names, types, causality, ranges and promises, every mistake in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Diagnostic, Label, SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema import boundforms, gating, granularity, indexers, parts, promises, requirements
from gsa_dsl.sema.budgets import selection
from gsa_dsl.sema.clauses import agree, gather
from gsa_dsl.sema.inherit import inherit
from gsa_dsl.sema.interval import POSITIVE
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.params import bind
from gsa_dsl.sema.typed import CheckedSpec, Forced

# Mistakes that hang on a parameter's value, and are not told while a value is unknown or breaks a requirement.
_OF_VALUES = frozenset(
    {
        codes.DOMAIN,
        codes.BAD_MASS,
        codes.CROSSED_CLAMP,
        codes.BAD_SIZE,
        codes.BAD_UNIT,
        codes.NOTHING_FORCED,
        codes.OWN_BLOCK,
        codes.NEGATIVE_BUDGET,
        codes.EMPTY_BUDGET,
        codes.EMPTY_INTERVAL,
        codes.ASSERT_UNPROVED,
        codes.UNBOUNDED_TABLE,
    }
)
_NONE: Mapping[str, int | float] = MappingProxyType({})


def parse_and_check(source: Source, params: Mapping[str, int | float] = _NONE, *, bounds: bool = True) -> CheckedSpec:
    """:func:`check` of the syntax tree of ``source``.

    Where all slips of syntax are as good as put right, what else is wrong is told in the same run.
    """
    try:
        tree = parse(source)
    except SpecError as slips:
        if slips.repaired is not None:
            try:
                check(slips.repaired, params, bounds=bounds)
            except SpecError as others:
                if others.source == slips.source:
                    raise SpecError(source, (*slips.diagnostics, *others.diagnostics)) from None
        raise
    return check(tree, params, bounds=bounds)


def check(tree: ast.Spec, params: Mapping[str, int | float] = _NONE, *, bounds: bool = True) -> CheckedSpec:
    """Check ``tree`` with its parameters bound to ``params``, or to their defaults.

    ``bounds=False`` leaves ``bound`` clauses undecided (their wording is still checked) and does not import sympy: for
    a spec whose bounds were decided before. Raises SpecError with all mistakes.
    """
    mistakes = Mistakes(tree.source)
    extends = tree.extends
    tree = inherit(tree, mistakes)
    values, known = bind(tree, params, mistakes)
    clauses = gather(tree, mistakes)
    met = requirements.meet(clauses.requires, tree.params, values, known, mistakes)
    agree(tree, clauses, mistakes)
    scale = parts.scale(clauses.scale, values, mistakes)
    sink = parts.sink(clauses.sink)
    gates = gating.gates(clauses.gates, values, mistakes)
    indexer = indexers.indexer(clauses.indexer, values, mistakes)
    # A wrong indexer is told already: any positive score stands in for its own.
    scored = indexer.score.range if indexer is not None else POSITIVE if clauses.indexer is not None else None
    logit = parts.logit(clauses.logit, scored, values, mistakes, causal=clauses.full is None)
    units = granularity.units(clauses.select, values, mistakes)
    always = parts.forced(clauses.always, units, values, mistakes)
    forced = always or Forced(0, 0, None)
    chosen, emas = selection(clauses, indexer, units, always, values, mistakes)
    granularity.agree(clauses, units, always, logit, mistakes)
    train = parts.train(clauses.train, values, mistakes)
    missing = {"score": clauses.indexer is None, "budget": clauses.select is None}
    for promise in clauses.asserts:
        promises.prove(promise, indexer, chosen, missing, values, mistakes)
    for bound in clauses.bounds:
        boundforms.check_form(bound, values, mistakes)
    found = mistakes.found if known and met else [d for d in mistakes.found if d.code not in _OF_VALUES]
    if found:
        raise SpecError(tree.source, _inherited(tuple(found), extends))
    spec = CheckedSpec(
        source=tree.source,
        tree=tree,
        name=tree.name.id,
        params=tuple(values.items()),
        causal=clauses.causal is not None,
        documents=clauses.documents is not None,
        scale=scale,
        logit=logit,
        sink=sink,
        gates=gates,
        indexer=indexer,
        selection=chosen,
        forced=forced,
        train=train,
        emas=emas,
    )
    if bounds and clauses.bounds:
        from gsa_dsl.sema.bounds import violations

        if broken := violations(spec):
            raise SpecError(tree.source, _inherited(broken, extends))
    return spec


def _inherited(found: tuple[Diagnostic, ...], extends: ast.Name | None) -> tuple[Diagnostic, ...]:
    """``found``, those in inherited clauses with a label at the ``extends`` that brings them in."""
    if extends is None:
        return found
    label = Label(extends.span, "inherited here")
    return tuple(d if d.span.source is None else replace(d, labels=(*d.labels, label)) for d in found)
