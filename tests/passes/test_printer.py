"""Both dialects of the printer: the printed text means the expression, and names shared parts once."""

from __future__ import annotations

import ast
import linecache
import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gsa_dsl.codegen import library
from gsa_dsl.codegen.emit import emit_torch
from gsa_dsl.codegen.printer import TORCH, TRITON, Dialect, Printed, print_scalars
from gsa_dsl.ir.nodes import Apply, Const, Input, Scalar, apply
from gsa_dsl.ops import OPS
from gsa_dsl.passes.canonicalize import canonicalize
from gsa_dsl.runtime.loader import load_module
from tests.codegen.generated import plan_of_example
from tests.passes.expressions import NAMES, evaluate, expressions, points

SEEDS = st.integers(0, 2**31)
POINTS = 16


def function_text(name: str, printed: Printed) -> str:
    """``printed`` as the body of a function of :data:`NAMES`, as the templates lay it out."""
    body = [f"{target} = {value}" for target, value in printed.assignments]
    body.append(f"return {', '.join(printed.results)}")
    return f"def {name}({', '.join(NAMES)}):\n" + "\n".join(f"    {line}" for line in body)


@cache
def torch_scope() -> dict[str, Any]:
    """What an eager module offers its hooks: ``torch``, ``minimum``, ``maximum``, ``clamp``."""
    scope: dict[str, Any] = {"__name__": "eager"}
    exec(compile(emit_torch(plan_of_example("dense")), "<eager>", "exec"), scope)
    return scope


@pytest.mark.parametrize("dialect", [TRITON, TORCH], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_operation_is_spelled_in_both_dialects(op: Any, dialect: Dialect) -> None:
    (text,) = print_scalars((Apply(op.name, tuple(map(Input, NAMES[: op.arity]))),), dialect).results
    names = {node.id for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
    assert set(NAMES[: op.arity]) <= names
    helpers = names - set(NAMES) - {"tl", "torch"}
    known = set(library.functions()) if dialect is TRITON else {"minimum", "maximum", "clamp"}
    assert helpers <= known


@settings(max_examples=150, deadline=None)
@given(exprs=st.lists(expressions(), min_size=1, max_size=3), seed=SEEDS)
def test_the_torch_text_has_the_value_of_the_expression(exprs: list[Scalar], seed: int) -> None:
    exprs = [canonicalize(expr) for expr in exprs]  # as lowering does: no operation is left with constants alone
    scope = dict(torch_scope())
    exec(function_text("f", print_scalars(tuple(exprs), TORCH)), scope)
    values = points(seed, POINTS)
    got = scope["f"](*values.values())
    for expr, value in zip(exprs, got if len(exprs) > 1 else (got,), strict=True):
        exact = evaluate(expr, values)
        close(torch.as_tensor(value, dtype=torch.float64).expand(POINTS), exact.value, exact.size, 1e-12, exact.margin)


def close(got: Tensor, wanted: Tensor, size: Tensor, tolerance: float, margin: Tensor) -> None:
    """Equal but for rounding, where no comparison was so close that rounding decides it."""
    sure = margin > tolerance * size
    assert ((got - wanted).abs() <= tolerance * size)[sure].all()


def interpreted(folder: Path, exprs: list[Scalar], values: dict[str, Tensor]) -> Tensor:
    """Every expression at ``values`` by its Triton text in the interpreter, float32 [expressions, points]."""
    functions = [function_text(f"f{i}", print_scalars((expr,), TRITON)) for i, expr in enumerate(exprs)]
    stores = "\n".join(
        f"    tl.store(out_ptr + {i} * {POINTS} + n, f{i}(x, y, z) + tl.zeros(({POINTS},), tl.float32))"
        for i in range(len(exprs))
    )
    loads = "\n".join(f"    {name} = tl.load({name}_ptr + n)" for name in NAMES)
    text = "\n\n\n".join(
        [
            "import triton\nimport triton.language as tl\n\nONE_INSTRUCTION = tl.constexpr(False)",
            *library.needed("\n".join(functions)),
            *(f"@triton.jit\n{function}" for function in functions),
            f"@triton.jit\ndef evaluate_kernel(x_ptr, y_ptr, z_ptr, out_ptr):\n    n = tl.arange(0, {POINTS})\n"
            f"{loads}\n{stores}\n",
        ]
    )
    path = folder / "printed.py"
    path.write_text(text, encoding="utf-8")
    linecache.checkcache()
    module = load_module(path, interpret=True)
    out = torch.full((len(exprs), POINTS), torch.nan)
    module.evaluate_kernel[(1,)](*(values[name].float() for name in NAMES), out)
    return out


def test_the_triton_text_has_the_value_of_the_expression(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Shrinking would take the interpreter minutes.
    @settings(
        max_examples=4,
        phases=(Phase.explicit, Phase.generate),
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(exprs=st.lists(expressions(depth=3), min_size=12, max_size=24), seed=SEEDS)
    def check(exprs: list[Scalar], seed: int) -> None:
        every_op = [Apply(op.name, tuple(_arguments(op.name, op.arity))) for op in OPS.values() if not op.boolean]
        exprs = [*every_op, *map(canonicalize, exprs)]
        values = {name: x.double() for name, x in points(seed, POINTS, torch.float32).items()}
        got = interpreted(tmp_path_factory.mktemp("printed"), exprs, values)
        for expr, value in zip(exprs, got.double(), strict=True):
            exact = evaluate(expr, values)
            close(value, exact.value, exact.size, 1e-4, exact.margin)

    check()


def _arguments(op: str, arity: int) -> list[Scalar]:
    x, y, z = (Input(name) for name in NAMES)
    if op in ("log", "sqrt"):
        return [apply("abs", x)]
    if op == "where":
        return [apply("lt", x, y), y, z]
    if op == "pow":
        return [apply("abs", x), Const(1.3)]
    if op == "div":
        return [x, apply("add", apply("abs", y), Const(0.5))]
    return [x, y, apply("max", y, z)][:arity]


@settings(max_examples=150, deadline=None)
@given(exprs=st.lists(expressions(), min_size=1, max_size=3))
def test_a_shared_part_is_named_once(exprs: list[Scalar]) -> None:
    printed = print_scalars(tuple(map(canonicalize, exprs)), TORCH)
    tree = ast.parse(printed.text)
    parts = Counter(ast.dump(node) for node in ast.walk(tree) if _calculates(node))
    assert not [part for part, count in parts.items() if count > 1]
    assigned = [name for name, _ in printed.assignments]
    assert len(set(assigned)) == len(assigned)
    read = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    # a name that is read once is there because the line would have been too long
    once = [text for name, text in printed.assignments if read[name] < 2]
    assert not once or len(printed.text) > 100
    assert all(len(line) <= 120 for line in function_text("f", printed).splitlines())
    # and each name is assigned before it is read
    for i, (_, value) in enumerate(printed.assignments):
        names = {node.id for node in ast.walk(ast.parse(value)) if isinstance(node, ast.Name)}
        assert not names & set(assigned[i:])


def _calculates(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return not isinstance(node.operand, ast.Constant)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".new_tensor"):
        return False  # a constant in the place of a tensor
    return isinstance(node, (ast.BinOp, ast.Compare, ast.Call))


def test_what_only_repeats_inside_a_shared_part_is_not_named() -> None:
    inner = apply("mul", Input("x"), Input("y"))
    twice = apply("exp", inner)
    printed = print_scalars((apply("add", twice, twice),), TORCH)
    assert printed.assignments == (("x0", "torch.exp(x * y)"),)
    assert printed.results == ("x0 + x0",)


@given(value=st.floats(allow_nan=False))
def test_numbers_read_back_exactly_and_as_floats(value: float) -> None:
    (text,) = print_scalars((Const(value),), TORCH).results
    again = eval(text)
    assert type(again) is float
    assert again == value
    assert math.copysign(1, again) == math.copysign(1, value)


_LEAVES = st.one_of(st.sampled_from(NAMES).map(Input), st.sampled_from((2.0, -3.0, 1e-30)).map(Const))
_INFIX = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow", ast.Lt: "lt", ast.GtE: "ge"}


def _operation(inner: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
    binary = st.builds(apply, st.sampled_from(tuple(_INFIX.values())), inner, inner)
    return st.one_of(binary, st.builds(apply, st.just("neg"), inner.filter(lambda x: not isinstance(x, Const))))


def read_back(node: ast.expr, names: dict[str, Scalar]) -> Scalar:
    """The expression that Python's own grammar sees in a printed text."""
    match node:
        case ast.Constant(value=float(value)):
            return Const(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=float(value))):
            return Const(-value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return apply("neg", read_back(operand, names))
        case ast.Name(id=name):
            return names.get(name, Input(name))
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            return apply(_INFIX[type(op)], read_back(left, names), read_back(right, names))
    raise AssertionError(ast.dump(node))


@settings(max_examples=300, deadline=None)
@given(expr=st.recursive(_LEAVES, _operation, max_leaves=12))
def test_brackets_keep_the_tree(expr: Scalar) -> None:
    printed = print_scalars((expr,), TORCH)
    names: dict[str, Scalar] = {}
    for name, text in printed.assignments:
        names[name] = read_back(ast.parse(text, mode="eval").body, names)
    assert read_back(ast.parse(printed.results[0], mode="eval").body, names) == expr
