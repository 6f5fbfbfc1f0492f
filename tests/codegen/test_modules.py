"""Generated modules as text: goldens, where each part comes from, what they carry and what they need."""

from __future__ import annotations

import ast
import difflib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import pytest
from hypothesis import HealthCheck, given, settings

from gsa_dsl.codegen import library
from gsa_dsl.codegen.emit import emit_torch, emit_triton
from gsa_dsl.compiler import plan_of
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.strategies import specs
from tests.codegen.generated import EXAMPLES, ROOT, SMALL_TILES, example, module_text, plan_of_example
from tests.conftest import Golden

DIALECTS = ("triton", "torch")
GOLDEN = ROOT / "tests" / "golden" / "generated"
MARK = re.compile(r"\s*# \[([^:\]]+):(\d+)\] (.*)")
RUFF = shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))
needs_ruff = pytest.mark.skipif(RUFF is None, reason="ruff is not installed")

modules = pytest.mark.parametrize(
    ("name", "dialect"),
    [pytest.param(name, dialect, id=f"{name}-{dialect}") for name in EXAMPLES for dialect in DIALECTS],
)


@modules
def test_the_module_is_the_golden_one(name: str, dialect: str, golden: Golden) -> None:
    golden(GOLDEN / name / f"{dialect}.py", module_text(name, dialect))


def test_what_hopper_adds_to_a_module_is_the_golden(golden: Golden) -> None:
    plain, own = (
        emit_triton(plan_of_example("gsa", (16, 1, 64), replace(SMALL_TILES, hopper=hopper))).splitlines()
        for hopper in (0, 2)
    )
    golden(
        GOLDEN / "gsa" / "hopper.diff",
        "\n".join(difflib.unified_diff(plain, own, "hopper=0", "hopper=2", "", "", 3, "")) + "\n",
    )


@modules
def test_generating_again_gives_the_same_text(name: str, dialect: str) -> None:
    emit = emit_triton if dialect == "triton" else emit_torch
    assert emit(plan_of_example(name)) == module_text(name, dialect)


@modules
def test_every_marker_quotes_an_existing_line_of_the_spec(name: str, dialect: str) -> None:
    source = example(name)
    specs = {one.name: one.text.splitlines() for one in (source, source.base) if one is not None}
    marks = [found.groups() for line in module_text(name, dialect).splitlines() if (found := MARK.fullmatch(line))]
    assert marks
    for file, number, quoted in marks:
        assert specs[file][int(number) - 1].split("#")[0].strip() == quoted
    assert {file for file, _, _ in marks} == set(specs)


@modules
def test_code_stands_below_the_line_it_comes_from(name: str, dialect: str) -> None:
    text = module_text(name, dialect)
    lines, tree = text.splitlines(), ast.parse(text)
    docstring = tree.body[0]
    assert isinstance(docstring, ast.Expr)
    first = next(line for line in lines[docstring.end_lineno or 0 :] if line)
    assert MARK.fullmatch(first), "nothing but the docstring comes before the first marker"
    hooks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and _maths_of_the_spec(node.name)]
    assert hooks or name in ("dense", "sliding_sink")
    kernels = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel")]
    assert bool(kernels) is (dialect == "triton")
    for node in (*hooks, *kernels):
        start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        assert MARK.fullmatch(lines[start - 2]), f"{node.name} says no line of the spec"


def _maths_of_the_spec(function: str) -> bool:
    return bool(
        re.fullmatch(
            r"(logit|(query|key|value|output)_gate|score_term\d+|score_outer)(_grad)?|budget|ema\d+_input", function
        )
    )


def test_hooks_come_from_the_clause_that_says_them() -> None:
    lines = module_text("gsa", "triton").splitlines()
    wanted = {
        "value_gate": "gate value",
        "output_gate": "gate output",
        "score_term0": "score[t, s] =",
        "budget": "budget[t] =",
        "ema0_input": "budget[t] =",
        "attend_fwd_kernel": "attention gsa",
        "indexer_loss_kernel": "train indexer",
        "threshold_kernel": "budget[t] =",
        "score_kernel": "score[t, s] =",
        "value_gate_fwd_kernel": "gate value",
    }
    for function, clause in wanted.items():
        number = next(i for i, line in enumerate(lines) if line.startswith(f"def {function}("))
        mark = next(found for line in reversed(lines[:number]) if (found := MARK.fullmatch(line)))
        assert mark[3].startswith(clause), function


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_module_carries_the_helpers_it_calls_and_no_others(name: str) -> None:
    tree = ast.parse(module_text(name, "triton"))
    carried = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} & set(library.functions())
    called = {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    } & set(library.functions())
    assert carried == called
    for function in carried:
        assert library.functions()[function] in module_text(name, "triton")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_function_of_a_module_is_used(name: str) -> None:
    tree = ast.parse(module_text(name, "triton"))
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    annotations = [ast.parse(str(ast.literal_eval(node.annotation))) for node in ast.walk(tree) if _quoted(node)]
    used = {node.id for part in (tree, *annotations) for node in ast.walk(part) if isinstance(node, ast.Name)}
    entry_points = {"attention", "mask_from_lists"}
    unused = defined - used - entry_points
    assert not unused


def _quoted(node: ast.AST) -> TypeGuard[ast.AnnAssign]:
    return isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Constant)


@modules
def test_a_module_needs_torch_and_triton_alone(name: str, dialect: str) -> None:
    roots = set()
    for node in ast.walk(ast.parse(module_text(name, dialect))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    assert roots == {"typing", "torch", *({"triton"} if dialect == "triton" else ())}


@modules
def test_kernels_have_a_launch_and_launches_a_kernel(name: str, dialect: str) -> None:
    if dialect == "torch":
        assert "LAUNCH" not in module_text(name, dialect)
        return
    tree = ast.parse(module_text(name, dialect))
    (launch,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAUNCH"
    ]
    assert set(launch) == {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel")
    }


@needs_ruff
@modules
def test_a_module_is_free_of_lint(name: str, dialect: str) -> None:
    _ruff("check", "--isolated", "--select", "F,E9", "-", text=module_text(name, dialect))


@needs_ruff
@modules
def test_a_module_is_formatted(name: str, dialect: str) -> None:
    _ruff("format", "--isolated", "--diff", "--line-length", "120", "-", text=module_text(name, dialect))


@needs_ruff
@pytest.mark.parametrize(
    ("shape", "config"),
    [((4, 4, 16), None), ((6, 1, 80), None), ((64, 4, 128), None), ((4, 2, 16), KernelConfig(tile=32, block_keys=16))],
    ids=str,
)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_other_shapes_are_clean_too(
    name: str, dialect: str, shape: tuple[int, int, int], config: KernelConfig | None
) -> None:
    plan = plan_of_example(name, shape, config)
    text = emit_triton(plan) if dialect == "triton" else emit_torch(plan)
    _ruff("check", "--isolated", "--select", "F,E9", "-", text=text)
    _ruff("format", "--isolated", "--diff", "--line-length", "120", "-", text=text)


@needs_ruff
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=specs())
def test_modules_of_random_specs_are_clean(text: str) -> None:
    plan = plan_of(Source("variant.gsa", text), {}, (4, 2, 16))
    for module in (emit_triton(plan), emit_torch(plan)):
        _ruff("check", "--isolated", "--select", "F,E9", "-", text=module)
        _ruff("format", "--isolated", "--diff", "--line-length", "120", "-", text=module)


def _ruff(*arguments: str, text: str) -> None:
    assert RUFF is not None
    result = subprocess.run([RUFF, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60)
    if result.returncode:
        pytest.fail(result.stdout + result.stderr, pytrace=False)
