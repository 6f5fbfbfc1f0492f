"""Sums of sigmoids as sums of tanh: ``c sigmoid(x) = c/2 + c/2 tanh(x/2)``, whose first part no key changes."""

from __future__ import annotations

from gsa_dsl.ir.nodes import Apply, Const, Input, Scalar, apply, inputs
from gsa_dsl.ir.plan import ScorePlan
from gsa_dsl.passes.canonicalize import canonicalize, scaled


def halves(score: ScorePlan) -> tuple[Scalar, Scalar] | None:
    """(c/2, x/2) where the score is a plain sum over heads of ``c sigmoid(x)`` and ``c`` reads no ``dot``.

    Three instructions a head then, not six. Elsewhere None: what is computed from a sum may need it to be positive.
    """
    if len(score.reductions) != 1 or score.reductions[0].op != "sum" or score.outer != Input("acc0"):
        return None
    match score.reductions[0].term:
        case Apply("mul", (c, Apply("sigmoid", (x,)))) if "dot" not in inputs(c):
            factor = c
        case Apply("mul", (Apply("sigmoid", (x,)), c)) if "dot" not in inputs(c):
            factor = c
        case Apply("sigmoid", (x,)):
            factor = Const(1.0)
        case _:
            return None
    return canonicalize(apply("mul", Const(0.5), factor)), scaled(x, 0.5)
