"""The hooks: small functions, one per scalar expression of the spec, that the kernels call."""

from __future__ import annotations

from dataclasses import dataclass

from gsa_dsl.codegen.printer import HOST, QUICK, TRITON, Dialect, Printed, print_scalars
from gsa_dsl.ir.nodes import Apply, Input, Scalar, apply, inputs, walk
from gsa_dsl.ir.plan import Origin, Plan, ScorePlan
from gsa_dsl.passes.halves import halves
from gsa_dsl.passes.schedule import UNROLLED_HEADS


@dataclass(frozen=True, slots=True)
class Hook:
    """``def name(params): return printed`` with the spec line it comes from; ``host``: called from Python."""

    name: str
    params: tuple[str, ...]
    printed: Printed
    origin: Origin
    host: bool = False


def folded(plan: Plan) -> bool:
    """Whether the queries of all heads may be added up before they meet a pooled key: the score is a sum of products.

    Not where a gradient goes through it, which every head's queries get their own of.
    """
    score = plan.score
    if score is None or plan.grain.pool is None or plan.soft or plan.trains or len(score.reductions) != 1:
        return False
    return score.reductions[0].op == "sum" and score.reductions[0].term == Input("dot")


def unrolled(plan: Plan) -> bool:
    """Whether the kernels hold the queries of all index heads at once, and loop over heads in their text alone.

    Queries against pooled keys are float32: together they leave no room in shared memory.
    """
    if plan.score is None:
        return False
    return folded(plan) or (plan.score.heads <= UNROLLED_HEADS and plan.grain.pool is None)


def hooks(plan: Plan, dialect: Dialect = TRITON) -> tuple[Hook, ...]:
    """Every hook of the plan, in the order the generated module shows them."""
    made: list[Hook] = []

    def add(name: str, params: tuple[str, ...], exprs: tuple[Scalar, ...], origin: Origin) -> None:
        made.append(Hook(name, params, print_scalars(exprs, dialect), origin))

    for gate in plan.gates:
        params = tuple(f"z{i}" for i in range(len(gate.inputs)))
        add(f"{gate.target}_gate", params, (gate.factor,), gate.origin)
        add(f"{gate.target}_gate_grad", params, (gate.factor, *gate.partials), gate.origin)

    if plan.logit is not None:
        logit = plan.logit
        add("logit", logit.reads, (logit.base2 if dialect is TRITON else logit.value,), logit.origin)
        if logit.partials:
            partials = tuple(partial for _, partial in logit.partials)
            add("logit_grad", logit.gradient_reads, partials, logit.origin)
        if logit.bias is not None:
            # Places are taken on the host, in float64: rounding must not decide which number is read.
            host = HOST if dialect is TRITON else dialect
            made.append(Hook("bias_place", ("distance",), print_scalars((logit.bias.place,), host), logit.origin, True))
    if plan.score is not None:
        score = plan.score
        for i, reduction in enumerate(score.reductions):
            params = tuple(name for name, _ in reduction.partials)
            add(f"score_term{i}", params, (reduction.term,), score.origin)
            if plan.trains:
                add(f"score_term{i}_grad", params, tuple(partial for _, partial in reduction.partials), score.origin)
            # A logit may take the score's logarithm, which a small error of a small score makes a large one.
            if dialect is TRITON and not plan.soft:
                made += _quick(i, params, plan, score)
        accs = tuple(f"acc{i}" for i in range(len(score.reductions)))
        add("score_outer", accs, (score.outer,), score.origin)
        if plan.trains:
            add("score_outer_grad", accs, score.outer_partials, score.origin)
    if plan.budget is not None:
        budget = plan.budget
        for i, ema in enumerate(budget.emas):
            add(f"ema{i}_input", inputs(ema), (ema,), budget.origin)
        if inputs(budget.expr):
            add("budget", inputs(budget.expr), (budget.expr,), budget.origin)
    return tuple(made)


def _quick(i: int, params: tuple[str, ...], plan: Plan, score: ScorePlan) -> list[Hook]:
    """How a sum of half-precision operands starts and grows, a product at a time; or its term where that is quicker."""
    reduction = score.reductions[i]
    term = reduction.term
    if unrolled(plan) and reduction.op == "sum":
        if (parts := halves(score)) is not None:
            weight, x = parts
            grown = apply("add", apply("mul", weight, apply("tanh", x)), Input("acc"))
            return [
                Hook(f"quick_start{i}", inputs(weight), print_scalars((weight,), QUICK), score.origin),
                Hook(f"quick_add{i}", ("acc", *params), print_scalars((grown,), QUICK), score.origin),
            ]
        if isinstance(term, Apply) and term.op == "mul":
            grown = apply("add", term, Input("acc"))
            return [Hook(f"quick_add{i}", ("acc", *params), print_scalars((grown,), QUICK), score.origin)]
    if {node.op for node in walk(term) if isinstance(node, Apply)} & {"sigmoid", "tanh"}:
        return [Hook(f"quick_term{i}", params, print_scalars((term,), QUICK), score.origin)]
    return []
