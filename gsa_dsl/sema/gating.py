"""The gates of a spec: what each multiplies, which tensors it reads, and where it starts."""

from __future__ import annotations

import re

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import ast
from gsa_dsl.gate_shapes import GRANULARITIES, TARGETS, gate_axes
from gsa_dsl.sema import typed
from gsa_dsl.sema.clauses import known_word
from gsa_dsl.sema.contexts import gate_context
from gsa_dsl.sema.identity import bias_at_one, identity_fix
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.parts import Params
from gsa_dsl.sema.typed import LINEAR, GateSpec, GateTensor, TypedExpr
from gsa_dsl.sema.types import Typer

_OWN_NAME = re.compile(rf"(?:{'|'.join(TARGETS)})(?:_[0-9]+)?")


def gates(clauses: tuple[ast.Gate, ...], params: Params, mistakes: Mistakes) -> tuple[GateSpec, ...]:
    """Every gate; the second on a target is named ``output_2``."""
    made: list[GateSpec] = []
    for clause in clauses:
        before = sum(gate.target == clause.target.id for gate in made)
        gate = _gate(clause, f"{clause.target.id}_{before + 1}" if before else clause.target.id, params, mistakes)
        if gate is not None:
            made.append(gate)
    _one_shape_a_name(made, mistakes)
    return tuple(made)


def _gate(clause: ast.Gate, name: str, params: Params, mistakes: Mistakes) -> GateSpec | None:
    target, granularity = clause.target.id, clause.granularity.id
    good = known_word(clause.target, TARGETS, "gate target", mistakes)
    good &= known_word(clause.granularity, GRANULARITIES, "granularity", mistakes)
    good &= clause.starts is None or known_word(clause.starts, ("identity",), "start", mistakes)
    body = Typer(gate_context(params, granularity), mistakes).number(clause.body)
    if body is None or not good:
        return None
    leaves = [node for node in typed.walk(body) if isinstance(node, typed.Leaf)]
    if not leaves:
        text = mistakes.text(clause.body.span)
        mistakes.add(
            codes.GATE_INPUT,
            f"the gate '{text}' does not depend on the input",
            clause.body.span,
            reason="a gate is a function of the layer's input x, or of a tensor it is given",
            fix="use 'linear(x)' in it: 'sigmoid(linear(x))'",
        )
        return None
    if not (_one_projection(leaves, mistakes) and _given_names(leaves, mistakes)):
        return None
    identity = None
    if clause.starts is not None:
        identity = _identity(clause, body, mistakes)
        if identity is None:
            return None
    tensors = {leaf.name: GateTensor(leaf.name, name if leaf.name == LINEAR else _given(leaf)) for leaf in leaves}
    features = next((leaf.features for leaf in leaves if leaf.name == LINEAR), None)
    return GateSpec(clause.span, name, target, granularity, body, tuple(tensors.values()), features, identity)


def _given(leaf: typed.Leaf) -> str:
    return leaf.name.removeprefix("given(").removesuffix(")")


def _one_projection(leaves: list[typed.Leaf], mistakes: Mistakes) -> bool:
    """Whether every ``linear(x)`` of a gate is the same: it has one projection."""
    first, *others = [leaf for leaf in leaves if leaf.name == LINEAR] or [leaves[0]]
    for other in others:
        if other.features != first.features:
            mistakes.add(
                codes.TWO_PROJECTIONS,
                "a gate has one projection of x",
                other.span,
                reason="'linear(x)' means the same wherever it stands in a gate",
                fix="read the same features in both, or split the gate: gates of one target are multiplied",
                labels=(Label(first.span, "this one reads other features"),),
            )
            return False
    return True


def _given_names(leaves: list[typed.Leaf], mistakes: Mistakes) -> bool:
    good = True
    for leaf in leaves:
        if leaf.name != LINEAR and _OWN_NAME.fullmatch(_given(leaf)):
            mistakes.add(
                codes.GIVEN_NAME,
                f"a given tensor cannot be named '{_given(leaf)}'",
                leaf.span,
                reason="a gate's own projection is passed under that name",
                fix="choose another name: 'given(mask)'",
            )
            good = False
    return good


def _one_shape_a_name(made: list[GateSpec], mistakes: Mistakes) -> None:
    """Tell a given tensor that two gates ask for in different shapes."""
    first: dict[str, GateSpec] = {}
    for gate in made:
        for name in gate.given:
            known = first.setdefault(name, gate)
            axes, wanted = (gate_axes(one.target, one.granularity) for one in (known, gate))
            if axes != wanted:
                mistakes.add(
                    codes.GIVEN_NAME,
                    f"'given({name})' is asked for in two shapes",
                    gate.span,
                    reason=f"here it is [{', '.join(wanted)}], there [{', '.join(axes)}]",
                    fix="give one of them another name",
                    labels=(Label(known.span, "first asked for here"),),
                )


def _identity(clause: ast.Gate, body: TypedExpr, mistakes: Mistakes) -> float | None:
    """The bias at which the gate is 1, or None after telling why there is none."""
    text = mistakes.text(clause.body.span)
    given = next((n for n in typed.walk(body) if isinstance(n, typed.Leaf) and n.name != LINEAR), None)
    if given is not None:
        mistakes.add(
            codes.NO_IDENTITY,
            f"'{text}' cannot start as the identity",
            given.span,
            reason=f"'{given.name}' is whatever the caller passes: no start of 'linear(x)' makes the gate 1",
            fix="leave 'starts identity' out, or split the gate: gates of one target are multiplied",
        )
        return None
    bias = bias_at_one(body)
    if bias is None:
        mistakes.add(
            codes.NO_IDENTITY,
            f"'{text}' cannot start as the identity",
            clause.body.span,
            reason=f"its value lies in {body.range}, and no bias of 'linear(x)' up to 16 makes it 1",
            fix=identity_fix(body, text),
        )
    return bias
