"""What must not matter: names, the order of clauses, where a number stands; and what the passes must not change."""

from __future__ import annotations

import ast
import random
from dataclasses import fields, is_dataclass

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gsa_dsl.compiler import generate
from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast as syntax
from gsa_dsl.frontend.parser import parse, parse_with_tokens
from gsa_dsl.ir.lower import lower, scalar
from gsa_dsl.ir.plan import HeadShape, Origin
from gsa_dsl.passes.canonicalize import canonicalize
from gsa_dsl.reference.evaluate import Scope
from gsa_dsl.reference.evaluate import evaluate as reference_value
from gsa_dsl.sema.check import check
from gsa_dsl.sema.typed import CheckedSpec, Statistic
from gsa_dsl.testing.strategies import specs
from tests.passes.expressions import evaluate

SHAPE = HeadShape(4, 2, 16)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def checked(text: str) -> CheckedSpec:
    return check(parse(Source("variant.gsa", text)))


def bare(value: object) -> object:
    """``value`` without places and names: what a spec means, however and wherever it was written."""
    if isinstance(value, (Span, Origin, Source, syntax.Spec)):
        return None
    if is_dataclass(value):
        kept = [field.name for field in fields(value) if field.name not in ("params", "spec_name")]
        named = type(value).__name__ == "Const"  # which keeps what the spec called it
        return (type(value), *(bare(getattr(value, name)) for name in kept if not (named and name == "name")))
    return tuple(map(bare, value)) if isinstance(value, (tuple, list)) else value


def same_meaning(one: str, other: str) -> None:
    specs_ = checked(one), checked(other)
    assert bare(specs_[0]) == bare(specs_[1])
    assert bare(lower(specs_[0], SHAPE)) == bare(lower(specs_[1], SHAPE))


def with_parameters(text: str, prefix: str) -> str:
    """``text``, which declares no parameters, with every number in it as a parameter."""
    tree, tokens = parse_with_tokens(Source("variant.gsa", text))
    numbers = [token for token in tokens if token.type == "NUMBER"]
    for position, token in reversed(list(enumerate(numbers))):
        text = f"{text[: token.start_pos]}{prefix}{position}{text[token.end_pos :]}"
    declared = ", ".join(f"{prefix}{position} = {token}" for position, token in enumerate(numbers))
    return f"{text[: tree.name.span.end]}({declared}){text[tree.name.span.end :]}"


def shuffled(text: str, chance: random.Random) -> str:
    """``text`` with its clauses in another order; gates keep theirs, since it numbers their inputs."""
    clauses = parse(Source("variant.gsa", text)).clauses
    order = list(clauses)
    chance.shuffle(order)
    gates = iter([clause for clause in clauses if isinstance(clause, syntax.Gate)])
    order = [next(gates) if isinstance(clause, syntax.Gate) else clause for clause in order]
    body = "\n".join(text[clause.span.start : clause.span.end] for clause in order)
    return f"{text[: clauses[0].span.start]}{body}{text[clauses[-1].span.end :]}"


@QUICK
@given(text=specs(), prefix=st.sampled_from(["p", "k", "size_", "W", "_"]))
def test_a_number_may_be_a_parameter_of_any_name(text: str, prefix: str) -> None:
    same_meaning(text, with_parameters(text, prefix))


@QUICK
@given(text=specs(), chance=st.randoms(use_true_random=False))
def test_the_order_of_clauses_does_not_matter(text: str, chance: random.Random) -> None:
    same_meaning(text, shuffled(text, chance))


def test_meaning_tells_specs_apart() -> None:
    one, other = (f"attention a {{ causal always last {n} }}" for n in (3, 4))
    assert bare(lower(checked(one), SHAPE)) != bare(lower(checked(other), SHAPE))
    assert bare(checked(one)) != bare(checked(other))


def values_of(names: tuple[str, ...], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 3 * torch.randn(1, 3, 2, 5, generator=generator, dtype=torch.float64) for name in names}


def close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got.broadcast_to(wanted.shape), wanted, rtol=1e-9, atol=1e-9, equal_nan=True)


@QUICK
@given(text=specs(), seed=st.integers(0, 2**31))
def test_lowered_gates_mean_what_the_reference_says(text: str, seed: int) -> None:
    for gate in checked(text).gates:
        values = values_of(tuple(tensor.leaf for tensor in gate.tensors), seed)
        first = next(iter(values.values()))
        wanted = reference_value(gate.body, Scope(first, leaves=values))
        close(evaluate(canonicalize(scalar(gate.body)), values).value, wanted.broadcast_to(first.shape))


@QUICK
@given(text=specs(), seed=st.integers(0, 2**31))
def test_lowered_scores_mean_what_the_reference_says(text: str, seed: int) -> None:
    spec = checked(text)
    plan = lower(spec, SHAPE).score
    if spec.indexer is None or plan is None:
        return
    heads = plan.heads
    dimensions = {"head_dim": SHAPE.head_dim, "group": SHAPE.group}
    generator = torch.Generator().manual_seed(seed)
    sizes = {"dot": (1, heads, 2, 5), "w": (1, heads, 2, 1), "b": (1, heads, 1, 1)}
    values = {name: torch.randn(size, generator=generator, dtype=torch.float64) for name, size in sizes.items()}
    scope = Scope(values["dot"], leaves=values, dot=values["dot"], dimensions=dimensions, heads=heads)
    wanted = reference_value(spec.indexer.score, scope)
    spread = {name: value.expand(sizes["dot"]) for name, value in values.items()}
    reduced = {
        f"acc{i}": getattr(evaluate(each.term, spread).value, {"sum": "sum", "max": "amax"}[each.op])(1, keepdim=True)
        for i, each in enumerate(plan.reductions)
    }
    close(evaluate(plan.outer, reduced).value, wanted)


@QUICK
@given(text=specs(), seed=st.integers(0, 2**31))
def test_lowered_budgets_mean_what_the_reference_says(text: str, seed: int) -> None:
    spec = checked(text)
    plan = lower(spec, SHAPE).budget
    if plan is None or spec.selection is None:
        return
    generator = torch.Generator().manual_seed(seed)
    rows = {
        op: 4 * torch.rand(7, generator=generator, dtype=torch.float64)
        for op in ("var", "mean", "max", "count", "entropy")
    }
    rows["min"] = -rows["mean"]
    rows |= {level.name.removeprefix("row_"): rows["count"] / level.value for level in plan.levels}
    state = torch.rand(len(spec.emas), generator=generator, dtype=torch.float64)

    def of_row(node: Statistic) -> Tensor:
        return rows[node.op] if node.level is None else rows["count"] / node.level

    scope = Scope(rows["var"], statistics=of_row, ema=state)
    values = {f"row_{op}": value for op, value in rows.items()}
    values.update({f"ema{slot}": value.expand(7) for slot, value in enumerate(state)})
    wanted = reference_value(spec.selection.budget, scope)
    if spec.selection.adaptive:
        close(evaluate(plan.expr, values).value, wanted.broadcast_to((7,)))
    for ema, follows in zip(spec.emas, plan.emas, strict=True):
        close(evaluate(follows, values).value, reference_value(ema.body, scope).broadcast_to((7,)))


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(text=specs())
def test_a_good_spec_becomes_a_python_module_in_both_dialects(text: str) -> None:
    for backend in ("torch", "triton"):
        module = generate(Source("variant.gsa", text), {}, (4, 2, 16), None, backend)
        tree = ast.parse(module)
        compile(module, "variant.py", "exec")
        assert any(isinstance(node, ast.FunctionDef) for node in tree.body)
