"""From a checked spec and head counts to a plan: typed trees become scalar IR with derivatives, sizes are bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath

from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast
from gsa_dsl.ir.nodes import ONE, Apply, Const, Input, Scalar, apply, walk
from gsa_dsl.ir.plan import (
    BudgetPlan,
    GateInput,
    GatePlan,
    Grain,
    HeadShape,
    Level,
    LogitPlan,
    Origin,
    Plan,
    Reduction,
    ScorePlan,
    TablePlan,
)
from gsa_dsl.options import KernelConfig
from gsa_dsl.passes.canonicalize import canonicalize, scaled
from gsa_dsl.passes.derivative import derivative
from gsa_dsl.passes.schedule import config_for, hopper_refused
from gsa_dsl.sema import typed
from gsa_dsl.sema.typed import CheckedSpec, GateSpec, TypedExpr


def lower(spec: CheckedSpec, shape: HeadShape, config: KernelConfig | None = None) -> Plan:
    """Lower ``spec`` for ``shape``; without a ``config`` the planner's default is taken.

    Raises:
        ValueError: the ``config`` asks for kernels that there are not for such a plan.
    """
    source = spec.source
    origin = _origin(source, spec.tree.name.span)
    score = _score(spec, shape) if spec.indexer is not None and spec.selection is not None else None
    scale, logit = _logit(spec, shape)
    plan = Plan(
        name=spec.name,
        spec_name=source.name,
        shape=shape,
        causal=spec.causal,
        documents=spec.documents,
        scale=scale,
        logit=logit,
        sink_origin=_origin(source, spec.sink.span) if spec.sink is not None else None,
        query_gate=_gates(spec, "query"),
        key_gate=_gates(spec, "key"),
        value_gate=_gates(spec, "value"),
        output_gate=_gates(spec, "output"),
        score=score,
        budget=_budget(spec),
        grain=_grain(spec),
        first=spec.forced.first,
        last=spec.forced.last,
        temperature=spec.train.temperature if spec.train is not None else None,
        train_origin=_origin(source, spec.train.span) if spec.train is not None else None,
        origin=origin,
        documents_origin=_clause_origin(spec, ast.Documents),
        forced_origin=_origin(source, spec.forced.span) if spec.forced.span is not None else None,
        config=config or KernelConfig(),
    )
    if config is None:
        return replace(plan, config=config_for(plan))
    if config.hopper and (why := hopper_refused(plan)) is not None:
        raise ValueError(f"config.hopper must be 0 here: {why}")
    return plan


def _origin(source: Source, span: Span) -> Origin:
    file = source.of(span)
    name = source.name if file.name == source.name else PurePath(file.name).name
    return Origin(span.line, file.line(span.line).split("#")[0].strip(), name)


def _clause_origin(spec: CheckedSpec, kind: type[ast.Clause]) -> Origin | None:
    spans = (clause.span for clause in spec.tree.clauses if isinstance(clause, kind))
    return next((_origin(spec.source, span) for span in spans), None)


def _scale(spec: CheckedSpec, shape: HeadShape) -> float:
    if spec.scale is None:
        return 1.0 / math.sqrt(shape.head_dim)
    value = canonicalize(scalar(spec.scale, shape=shape))
    if not isinstance(value, Const):
        raise AssertionError(f"a checked scale is a number, got {value}")
    return value.value


def _logit(spec: CheckedSpec, shape: HeadShape) -> tuple[float, LogitPlan | None]:
    """The scale, and the logit unless it is the scaled dot product and no more."""
    if spec.logit is None:
        return _scale(spec, shape), None
    value = canonicalize(scalar(spec.logit.body, shape=shape))
    # What the spec reads, also where the maths cancels it: a call passes what the spec asks for.
    reads = tuple(name for name in ("dot", "distance", "slope", "bias", "score") if name in spec.logit.reads)
    by_dot = derivative(value, "dot")
    linear = isinstance(by_dot, Const)
    scale = by_dot.value if isinstance(by_dot, Const) else 1.0
    if reads == ("dot",) and linear and canonicalize(apply("mul", Const(scale), Input("dot"))) == _front(value):
        return scale, None
    learned = tuple(name for name in ("dot", "bias", "score") if name in reads and not (name == "dot" and linear))
    table = spec.logit.bias
    return scale, LogitPlan(
        value=value,
        base2=scaled(value, 1.0 / math.log(2.0)),
        reads=reads,
        partials=tuple((name, derivative(value, name)) for name in learned),
        linear=linear,
        bias=TablePlan(canonicalize(scalar(table.place)), table.size) if table is not None else None,
        origin=_origin(spec.source, spec.logit.span),
    )


def _front(value: Scalar) -> Scalar:
    """``value`` with the constant of a product first."""
    if isinstance(value, Apply) and value.op == "mul" and isinstance(value.args[1], Const):
        return apply("mul", value.args[1], value.args[0])
    return value


def _gates(spec: CheckedSpec, target: str) -> GatePlan | None:
    gates: tuple[GateSpec, ...] = tuple(gate for gate in spec.gates if gate.target == target)
    if not gates:
        return None
    # A tensor given to several gates of one target is read once.
    inputs = tuple(dict.fromkeys(GateInput(tensor.name, gate.granularity) for gate in gates for tensor in gate.tensors))
    place = {gate_input.name: f"z{number}" for number, gate_input in enumerate(inputs)}
    factor: Scalar = ONE
    for gate in gates:
        leaves = {tensor.leaf: place[tensor.name] for tensor in gate.tensors}
        factor = canonicalize(apply("mul", factor, scalar(gate.body, rename=leaves)))
    return GatePlan(
        target=target,
        inputs=inputs,
        factor=factor,
        partials=tuple(derivative(factor, name) for name in place.values()),
        origin=_origin(spec.source, gates[0].span),
    )


def _grain(spec: CheckedSpec) -> Grain:
    selection, indexer = spec.selection, spec.indexer
    if selection is None or indexer is None:
        return Grain()
    return Grain(
        block=selection.block,
        reduce=selection.reduce,
        pool=indexer.pool,
        per_kv_head=selection.per_kv_head,
        queries=selection.queries,
        keys=indexer.keys,
        origin=_origin(spec.source, selection.span),
    )


def _score(spec: CheckedSpec, shape: HeadShape) -> ScorePlan:
    indexer = spec.indexer
    assert indexer is not None
    found: list[tuple[str, Scalar]] = []
    own = indexer.keys == "attention"
    heads, dim = (shape.group, shape.head_dim) if own else (indexer.heads, indexer.dim)

    def cut(node: typed.Reduce) -> Scalar:
        op = "max" if node.op == "max" else "sum"
        key = (op, canonicalize(scalar(node.body, shape=shape)))
        if key not in found:
            found.append(key)
        acc = Input(f"acc{found.index(key)}")
        return apply("mul", acc, Const(1.0 / heads)) if node.op == "mean" else acc

    outer = canonicalize(scalar(indexer.score, shape=shape, cut=cut))
    reductions = []
    for op, term in found:
        names = [name for name in ("dot", "w", "b") if Input(name) in set(walk(term))]
        reductions.append(Reduction(op, term, tuple((name, derivative(term, name)) for name in names)))
    return ScorePlan(
        heads=heads,
        dim=dim,
        reductions=tuple(reductions),
        outer=outer,
        outer_partials=tuple(derivative(outer, f"acc{i}") for i in range(len(found))),
        tensors=indexer.tensors,
        origin=_origin(spec.source, indexer.score.span),
    )


def _budget(spec: CheckedSpec) -> BudgetPlan | None:
    selection = spec.selection
    if selection is None:
        return None
    expr = canonicalize(scalar(selection.budget))
    emas = tuple(canonicalize(scalar(ema.body)) for ema in spec.emas)
    read = {node.name for e in (expr, *emas) for node in walk(e) if isinstance(node, Input)}
    asked = [node for root in (selection.budget, *spec.emas) for node in typed.walk(root)]
    levels = dict.fromkeys(
        Level(level_name(node.op, node.level), node.op, node.level)
        for node in asked
        if isinstance(node, typed.Statistic) and node.level is not None
    )
    if "row_entropy" in read or any(level.op == "top_p" for level in levels):
        read.add("row_max")  # exponentials are taken of the distance to it
    return BudgetPlan(
        expr=expr,
        statistics=tuple(op for op in ("count", "mean", "var", "max", "min", "entropy") if f"row_{op}" in read),
        levels=tuple(levels),
        emas=emas,
        ema_decay=tuple(ema.decay for ema in spec.emas),
        ema_init=tuple(ema.init for ema in spec.emas),
        most=selection.most,
        origin=_origin(spec.source, selection.budget.span),
    )


def level_name(op: str, value: float) -> str:
    """``row_top_p_0_9``: the name of a statistic with a constant, a different one for every constant."""
    return f"row_{op}_{repr(value).replace('.', '_').replace('-', 'm').replace('+', '')}"


def scalar(
    expr: TypedExpr,
    *,
    shape: HeadShape | None = None,
    rename: dict[str, str] | None = None,
    cut: Callable[[typed.Reduce], Scalar] | None = None,
) -> Scalar:
    """The typed expression as scalar IR; ``cut`` says what stands for a reduction."""

    def go(node: TypedExpr) -> Scalar:
        match node:
            case typed.Const(value=value):
                return Const(float(value))
            case typed.Dimension(name=name):
                if shape is None:
                    raise AssertionError(f"{name} outside a scale or a logit")
                return Const(float(getattr(shape, name)))
            case typed.Leaf(name=name):
                return Input((rename or {}).get(name, name))
            case typed.Dot():
                return Input("dot")
            case typed.Statistic(op=op, level=level):
                return Input(f"row_{op}" if level is None else level_name(op, level))
            case typed.Ema(slot=slot):
                return Input(f"ema{slot}")
            case typed.Reduce():
                if cut is None:
                    raise AssertionError("a checked expression has no reduction here")
                return cut(node)
            case typed.Apply(op=op, args=args):
                return Apply(op, tuple(go(arg) for arg in args))
        raise AssertionError(f"unexpected node {node!r}")

    return go(expr)
