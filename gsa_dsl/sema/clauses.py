"""The clauses of a spec as a whole: each at most once, none missing, none in contradiction to another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.diagnostics.suggest import did_you_mean
from gsa_dsl.frontend import ast
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.names import listed

_C = TypeVar("_C", bound=ast.Clause)


@dataclass(frozen=True, slots=True)
class Clauses:
    """A spec's clauses by kind; of a kind given twice, the first."""

    causal: ast.Causal | None
    full: ast.Full | None
    documents: ast.Documents | None
    scale: ast.Scale | None
    logit: ast.Logit | None
    sink: ast.Sink | None
    gates: tuple[ast.Gate, ...]
    indexer: ast.Indexer | None
    budget: ast.Budget | None
    select: ast.Select | None
    always: ast.Always | None
    train: ast.Train | None
    bounds: tuple[ast.Bound, ...]
    asserts: tuple[ast.Assert, ...]
    requires: tuple[ast.Require, ...]

    @property
    def selects_budget(self) -> bool:
        """Whether ``select top budget tokens`` was written."""
        count = self.select.count if self.select is not None else None
        return isinstance(count, ast.Name) and count.id == "budget"


def gather(tree: ast.Spec, mistakes: Mistakes) -> Clauses:
    """The clauses by kind; tells those given twice."""

    def every(kind: type[_C]) -> tuple[_C, ...]:
        return tuple(clause for clause in tree.clauses if isinstance(clause, kind))

    def one(kind: type[_C]) -> _C | None:
        found = every(kind)
        repeated(f"'{kind.__name__.lower()}'", found, mistakes)
        return found[0] if found else None

    return Clauses(
        causal=one(ast.Causal),
        full=one(ast.Full),
        documents=one(ast.Documents),
        scale=one(ast.Scale),
        logit=one(ast.Logit),
        sink=one(ast.Sink),
        gates=every(ast.Gate),
        indexer=one(ast.Indexer),
        budget=one(ast.Budget),
        select=one(ast.Select),
        always=one(ast.Always),
        train=one(ast.Train),
        bounds=every(ast.Bound),
        asserts=every(ast.Assert),
        requires=every(ast.Require),
    )


def repeated(what: str, nodes: Iterable[ast.Node], mistakes: Mistakes) -> None:
    """Tell every node after the first."""
    first, *others = (*nodes, None)
    for other in others:
        if first is not None and other is not None:
            mistakes.add(
                codes.DUPLICATE_CLAUSE,
                f"{what} is given twice",
                other.span,
                fix="leave one of them out",
                labels=(Label(first.span, "first given here"),),
            )


def agree(tree: ast.Spec, clauses: Clauses, mistakes: Mistakes) -> None:
    """Tell what is missing and what contradicts something else."""
    _direction(tree, clauses, mistakes)
    _scale_and_logit(clauses, mistakes)
    _budget_and_select(clauses, mistakes)
    _indexer_and_select(clauses, mistakes)
    if clauses.train is not None and clauses.indexer is None:
        mistakes.add(
            codes.MISSING_INDEXER,
            "there is no indexer to train",
            clauses.train.span,
            fix="add an 'indexer { ... }', or leave 'train' out",
        )


def _scale_and_logit(clauses: Clauses, mistakes: Mistakes) -> None:
    if clauses.scale is None or clauses.logit is None:
        return
    scale = mistakes.text(clauses.scale.value.span)
    mistakes.add(
        codes.SCALE_AND_LOGIT,
        "a scale beside a logit",
        clauses.scale.span,
        reason="the logit says the whole of what the softmax is taken of, its scale too",
        fix=f"write 'q[t] . k[s] * ({scale})' in the logit, and leave 'scale' out",
        labels=(Label(clauses.logit.span, "the logit"),),
    )


def _direction(tree: ast.Spec, clauses: Clauses, mistakes: Mistakes) -> None:
    """Exactly one of ``causal`` and ``full`` says which positions a query sees."""
    if clauses.causal is None and clauses.full is None:
        mistakes.add(
            codes.MISSING_CAUSAL,
            f"'{tree.name.id}' does not say which keys a query sees",
            tree.name.span,
            reason="a query sees its own and earlier positions, or all of them",
            fix="add 'causal', or 'full' for attention that looks ahead",
        )
    if clauses.causal is not None and clauses.full is not None:
        mistakes.add(
            codes.CAUSAL_AND_FULL,
            "'full' contradicts 'causal'",
            clauses.full.span,
            reason="'causal' ends what a query sees at its own position, 'full' at the last one",
            fix="leave one of them out",
            labels=(Label(clauses.causal.span, "causal here"),),
        )


def _budget_and_select(clauses: Clauses, mistakes: Mistakes) -> None:
    budget, select = clauses.budget, clauses.select
    if select is not None and clauses.selects_budget and budget is None:
        mistakes.add(
            codes.MISSING_BUDGET,
            "'budget' is not defined",
            select.count.span,
            reason="'select top budget tokens' takes as many keys as the budget clause says",
            fix="add 'budget[t] = ...', or write a number of keys",
        )
    if budget is not None and not clauses.selects_budget:
        labels = (Label(select.span, "this takes another number of keys"),) if select is not None else ()
        mistakes.add(
            codes.UNUSED_BUDGET,
            "nothing uses this budget",
            budget.span,
            fix="write 'select top budget tokens'",
            labels=labels,
        )


def _indexer_and_select(clauses: Clauses, mistakes: Mistakes) -> None:
    indexer, select = clauses.indexer, clauses.select
    if select is not None and indexer is None:
        mistakes.add(
            codes.MISSING_INDEXER,
            "'select' has no scores to choose by",
            select.span,
            reason="the top keys are those an indexer scores highest",
            fix="add 'indexer { heads 4  dim 64  keys shared  score[t, s] = ... }'",
        )
    if indexer is not None and select is None:
        mistakes.add(
            codes.UNUSED_INDEXER,
            "this indexer chooses nothing",
            indexer.span,
            reason="an indexer only scores keys; without 'select' every key is attended to",
            fix="add 'select top 2048 tokens', or leave the indexer out",
        )


def known_word(word: ast.Name, allowed: tuple[str, ...], what: str, mistakes: Mistakes) -> bool:
    """Whether ``word`` is one of ``allowed``; tells it if not."""
    if word.id in allowed:
        return True
    fix = did_you_mean(word.id, allowed) or f"write {listed(allowed)}"
    mistakes.add(codes.UNKNOWN_WORD, f"unknown {what} '{word.id}'", word.span, fix=fix)
    return False
