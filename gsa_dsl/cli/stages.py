"""The lowered stages of a spec as text: its scalar maths with derivatives, and how the kernels are laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from gsa_dsl.codegen.printer import Dialect, print_scalars
from gsa_dsl.ir.nodes import Scalar
from gsa_dsl.ir.plan import BudgetPlan, GatePlan, LogitPlan, Plan, ScorePlan
from gsa_dsl.ops import FUNCTIONS
from gsa_dsl.passes.schedule import schedules

Section = tuple[str, tuple[tuple[str, str], ...]]

_SPEC = Dialect(
    "spec",
    {name: f"{name}({', '.join(f'{{{i}}}' for i in range(op.arity))})" for name, op in FUNCTIONS.items()}
    | {"pow": "({0}) ^ {1}"},
)


def ir_sections(plan: Plan) -> list[Section]:
    """The scalar maths of a plan: a heading for each construct, and under it definitions ``(name, expression)``."""
    sections: list[Section] = []
    sections += [(f"{gate.target} gate", tuple(_gate(gate))) for gate in plan.gates]
    if plan.score is not None:
        sections.append(("score", tuple(_score(plan.score))))
    if plan.budget is not None:
        sections.append(("budget", tuple(_budget(plan.budget))))
    if plan.logit is None:
        sections.append(("attention", (("scale", repr(plan.scale)),)))
    else:
        sections.append(("attention", tuple(_logit(plan.logit, plan.scale))))
    return sections


def plan_facts(plan: Plan) -> list[tuple[str, object]]:
    """What a plan decides beside the maths: shape, forced keys, tile sizes and launches."""
    maths = (GatePlan, LogitPlan, ScorePlan, BudgetPlan)
    named = [(field.name, getattr(plan, field.name)) for field in fields(plan)]
    facts = [(name, value) for name, value in named if value is not None and not isinstance(value, maths)]
    return [*facts, *schedules(plan).items()]


def tuned_facts(text: str, params: Mapping[str, int | float], plan: Plan) -> list[tuple[str, object]]:
    """The stored configurations that calls on this machine's GPU use instead of the plan's; none without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return []
    from gsa_dsl.tuning.key import key_for, machine, spec_digest
    from gsa_dsl.tuning.lookup import matching
    from gsa_dsl.tuning.store import Store

    shape = (plan.shape.heads, plan.shape.kv_heads, plan.shape.head_dim)
    overlap = 0.0 if plan.listed else None
    key = key_for(spec_digest(text, params), shape, "bfloat16", 1, overlap, machine())
    return [(f"tuned ({one.origin})", one.config) for one in matching(key, Store.of_user())]


def _gate(gate: GatePlan) -> Iterator[tuple[str, str]]:
    inputs = ", ".join(f"z{i} = {gate_input.name}" for i, gate_input in enumerate(gate.inputs))
    names = ["factor", *(f"d factor / d z{i}" for i in range(len(gate.partials)))]
    yield "inputs", inputs
    yield from _definitions(names, (gate.factor, *gate.partials))


def _score(score: ScorePlan) -> Iterator[tuple[str, str]]:
    for number, reduction in enumerate(score.reductions):
        names = [f"acc{number}", *(f"d acc{number} / d {name}" for name, _ in reduction.partials)]
        exprs = (reduction.term, *(partial for _, partial in reduction.partials))
        printed = dict(_definitions(names, exprs, prefix=f"x{number}_"))
        printed[names[0]] = f"{reduction.op} over j of {printed[names[0]]}"
        yield from printed.items()
    names = ["score", *(f"d score / d acc{i}" for i in range(len(score.outer_partials)))]
    yield from _definitions(names, (score.outer, *score.outer_partials), prefix="y")


def _budget(budget: BudgetPlan) -> Iterator[tuple[str, str]]:
    yield from _definitions(["k", *(f"ema{i} follows" for i in range(len(budget.emas)))], (budget.expr, *budget.emas))
    yield "k at most", str(budget.most)


def _logit(logit: LogitPlan, scale: float) -> Iterator[tuple[str, str]]:
    names = ["logit", *(f"d logit / d {name}" for name, _ in logit.partials)]
    yield from _definitions(names, (logit.value, *(partial for _, partial in logit.partials)))
    if logit.linear:
        yield "d logit / d dot", repr(scale)
    if logit.bias is not None:
        (place,) = print_scalars((logit.bias.place,), _SPEC).results
        yield "place of bias", f"{place}, one of {logit.bias.size}"


def _definitions(names: list[str], exprs: tuple[Scalar, ...], prefix: str = "x") -> Iterator[tuple[str, str]]:
    """Shared subexpressions first, as the kernels compute them."""
    printed = print_scalars(exprs, _SPEC, prefix)
    yield from printed.assignments
    yield from zip(names, printed.results, strict=True)
