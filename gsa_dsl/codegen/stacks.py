"""Indexers of many heads: those of a query are rows or columns of a product together, and not each a product's own."""

from __future__ import annotations

from gsa_dsl.codegen.hooks import unrolled
from gsa_dsl.ir.plan import Plan
from gsa_dsl.options import SUM_TILES
from gsa_dsl.passes.schedule import PRODUCT_COLUMNS, held_queries, next_power_of_two


def stacked(plan: Plan) -> bool:
    """Whether an indexer has too many heads for kernels whose text has a product for each."""
    return plan.score is not None and not unrolled(plan)


def stacked_scores(plan: Plan) -> bool:
    """Whether tokens are scored that way: queries stay while keys pass by. Every score is written once, and kept."""
    return stacked(plan) and plan.grain.block == 1


def stacks(plan: Plan) -> dict[str, object]:
    """For the templates: heads in a product of a tile's queries, for gradients, and in those of a program of scores."""
    score, config = plan.score, plan.config
    if score is None or not stacked(plan):
        return {"stacked": False, "stacked_scores": False, "tiled": plan.listed, "stacks": False}
    heads = next_power_of_two(score.heads)
    # As many rows as the attention has, if not too few. Pooled keys are float32, and so are queries that meet them.
    rows = min(max(config.tile * next_power_of_two(plan.shape.group), 64), PRODUCT_COLUMNS)
    rows = rows if plan.grain.pool is None else 32
    stack = max(min(heads, rows // config.tile), 16 // config.tile, 1)
    queries = held_queries(config, score.heads)
    columns = min(max(queries * heads, 16), PRODUCT_COLUMNS)
    rivals = [i for i, reduction in enumerate(score.reductions) if reduction.op == "max"]
    return {
        "stacked": True,
        "stacked_scores": stacked_scores(plan),
        # Scores of tiles, a head at a time.
        "tiled": not stacked_scores(plan) or plan.soft,
        "stacks": stacked_scores(plan) or plan.trains,
        "stack": stack,
        # Whether some rows or columns are heads that are not there.
        "ragged": heads != score.heads or score.heads % stack > 0,
        "sum_tiles": SUM_TILES,
        "sums": len(score.reductions) + len(rivals),
        # Where the head that has a maximum is noted, behind all sums.
        "winners": {i: len(score.reductions) + n for n, i in enumerate(rivals)},
        "score_stack": min(heads, columns),
        "queries_a_product": max(columns // heads, 1),
        "score_rows": queries,
        "score_products": products(queries, heads, columns),
    }


def products(queries: int, heads: int, columns: int) -> list[tuple[int, int, int, bool]]:
    """The products of a program of scores, ``columns`` of its queries' heads each.

    Of each: its first query and head, which product has that query's first heads, and whether it has the last ones.
    """
    found = []
    for first in range(0, max(queries * heads, columns), columns):
        query, head = divmod(first, heads)
        found.append((query, head, query * heads // columns, (first + columns) % heads == 0))
    return found
