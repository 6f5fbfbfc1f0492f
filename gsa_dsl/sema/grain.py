"""How many scores there are, as formulas: what units, kv heads and runs of queries make of rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.frontend import ast
from gsa_dsl.sema.algebra import ONE, Expr, maximum, minimum, number
from gsa_dsl.sema.symbols import DI, HKV, D, H, J, L, Table
from gsa_dsl.sema.typed import CheckedSpec


@dataclass(frozen=True, slots=True)
class Grain:
    """A choice of units of ``block`` positions, shared by runs of ``run`` queries, made by ``choosers`` a sequence.

    ``scored``: pairs of a run and a key, of a token or pooled, that one of them scores; ``columns``: of a run and a
    unit that it sees. ``owners``: who has keys to score, each of ``heads`` heads of ``width`` features. ``reduced``:
    units are scored by their tokens. Fractions of blocks and runs count as such.
    """

    block: Expr
    run: Expr
    choosers: Expr
    owners: Expr
    heads: Expr
    width: Expr
    scored: Expr
    columns: Expr
    reduced: bool

    @property
    def rows(self) -> Expr:
        """The choices that each of the choosers makes in a sequence."""
        return L / self.run

    @property
    def units(self) -> Expr:
        return L / self.block


def grain(spec: CheckedSpec, table: Table) -> Grain:
    """The grain of the choice of ``spec``; that of single tokens for all heads where it makes none."""
    block, run = _sizes(spec, table)
    selection, indexer = spec.selection, spec.indexer
    columns = _seen(spec, block, run, pooled=False)
    scored = columns
    if selection is not None and indexer is not None:
        if indexer.pool is not None:
            scored = columns = _seen(spec, block, run, pooled=True)
        elif selection.block > 1:
            scored = _seen_tokens(spec, run)
    own = indexer is not None and indexer.keys == "attention"
    return Grain(
        block=block,
        run=run,
        choosers=HKV if selection is not None and selection.per_kv_head else ONE,
        owners=HKV if indexer is not None and indexer.keys != "shared" else ONE,
        heads=H / HKV if own else J,
        width=D if own else DI,
        scored=scored,
        columns=columns,
        reduced=selection is not None and selection.reduce is not None,
    )


def _sizes(spec: CheckedSpec, table: Table) -> tuple[Expr, Expr]:
    """The size of a block and of a run of queries: a parameter where the spec names one."""
    if spec.selection is None:
        return ONE, ONE
    clause = next(clause for clause in spec.tree.clauses if isinstance(clause, ast.Select))
    run = next((option.size for option in clause.options if option.choice.id == "queries"), None)

    def size(written: ast.Expr | None, value: int) -> Expr:
        return table[written.id] if isinstance(written, ast.Name) else number(value)

    return size(clause.size, spec.selection.block), size(run, spec.selection.queries)


def _seen(spec: CheckedSpec, block: Expr, run: Expr, *, pooled: bool) -> Expr:
    """Pairs of a run's first query and a unit that it sees, and that is none of its own where keys are ``pooled``.

    Under ``causal`` that query t sees the blocks up to its own, floor(t / block) + 1, for the L / run values of t.
    """
    if not spec.causal:
        return L**2 / (block * run)
    wide = spec.selection is not None and spec.selection.queries > spec.selection.block
    more = 2 * block - run if wide else block
    seen = L + more - (2 * block if pooled else 0)
    # Less than one block, or one run, has no fewer than none.
    return L * (maximum(seen, 0) if wide or pooled else seen) / (2 * block * run)


def _seen_tokens(spec: CheckedSpec, run: Expr) -> Expr:
    """Pairs of a run's first query and a token that it sees."""
    if not spec.causal:
        return L**2 / run
    single = spec.selection is None or spec.selection.queries == 1
    return L * (L + 1) / 2 if single else L * maximum(L + 2 - run, 0) / (2 * run)


def attended(most: Expr, *, causal: bool) -> Expr:
    """The sum over t of the keys that t sees, at most ``most``; without ``causal`` it sees all."""
    m = minimum(most, L)
    return m * L - m * (m - 1) / 2 if causal else m * L
