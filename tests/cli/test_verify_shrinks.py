"""What ``gsa verify`` leaves behind when kernels are wrong: a small spec, and a file that pytest runs."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gsa_dsl.codegen import environment as codegen
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.library import load
from gsa_dsl.frontend.parser import parse
from gsa_dsl.paths import templates_dir
from gsa_dsl.testing.specs import load_spec
from tests.cli.running import ROOT, Gsa

TORCH = ("verify", "examples/gsa_small.gsa", "--backend", "torch", "--shapes", "2x30")
GATED = "(wide({{ x }}) * {{ x }}_gate({{ gate_args(gate) }}))"


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Generated torch modules whose gates are off by a thousandth."""
    folder = tmp_path / "templates"
    shutil.copytree(templates_dir(), folder)
    template = folder / "eager.py.jinja"
    text = template.read_text(encoding="utf-8")
    assert GATED in text
    template.write_text(text.replace(GATED, f"(1.001 * {GATED})"), encoding="utf-8")
    monkeypatch.setattr(codegen, "templates_dir", lambda: folder)
    codegen.environment.cache_clear()
    yield
    codegen.environment.cache_clear()


@pytest.mark.usefixtures("wrong")
def test_a_failure_is_shrunk_saved_and_reproduced(gsa: Gsa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = gsa(*TORCH, "--shrink", "20")
    assert ran.status == 1
    assert "saved: pytest test_gsa_small_reproduction.py" in ran.err
    shown = ran.err.split("the smallest failure found: ")[1]
    assert shown.startswith("B=1 L=1 H=1/1 D=16 normal, seed 0")
    small = load_spec(shown[shown.index("attention") : shown.index("\n}") + 3])
    assert small.indexer is None
    assert [gate.target for gate in small.gates] == ["key"]
    assert not small.params

    file = tmp_path / "test_gsa_small_reproduction.py"
    with pytest.raises(AssertionError, match="FAILED"):
        runpy.run_path(str(file))["test_gsa_small_agrees_with_the_reference"]()
    # In another process, with a cache of its own, the templates are right again.
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "another"))
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), str(file)]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    assert list(tmp_path.glob("*.tmp")) == []


@pytest.mark.usefixtures("wrong")
def test_the_failure_in_json(gsa: Gsa, tmp_path: Path) -> None:
    ran = gsa(*TORCH, "--shrink", "5", "--json", "--save", "small.py")
    assert (ran.status, ran.json["ok"]) == (1, False)
    smallest = ran.json["smallest"]
    assert smallest["file"] == "small.py"
    assert (tmp_path / "small.py").exists()
    assert smallest["quantities"]
    assert smallest["case"]["length"] <= 30


@pytest.mark.usefixtures("wrong")
def test_nothing_is_saved_where_nothing_is_shrunk(gsa: Gsa, tmp_path: Path) -> None:
    ran = gsa(*TORCH, "--shrink", "0")
    assert ran.status == 1
    assert "smallest" not in ran.err
    assert not list(tmp_path.glob("test_*.py"))


@pytest.mark.usefixtures("wrong")
def test_a_file_of_someone_else_is_not_replaced(gsa: Gsa, tmp_path: Path) -> None:
    mine = tmp_path / "test_gsa_small_reproduction.py"
    mine.write_text("# mine\n", encoding="utf-8")
    for _ in range(2):
        assert "test_gsa_small_reproduction_2.py" in gsa(*TORCH, "--shrink", "0.1").err
    assert mine.read_text(encoding="utf-8") == "# mine\n"
    assert not (tmp_path / "test_gsa_small_reproduction_3.py").exists()


def test_a_spec_stands_alone_with_its_parameters_in_it() -> None:
    from gsa_dsl.testing.failing import PROMISES, standalone

    spec = load_spec(ROOT / "examples" / "gsa_small.gsa")
    text = standalone(spec, {"k_base": 12})
    again = load_spec(text)
    assert dict(again.params) == {**dict(spec.params), "k_base": 12}
    assert (again.gates, again.forced.last) == (spec.gates, spec.forced.last) or len(again.gates) == len(spec.gates)
    assert not any(isinstance(clause, PROMISES) for clause in again.tree.clauses)
    assert parse(load(ROOT / "examples" / "gsa_small.gsa")).extends is not None
    assert parse(again.source).extends is None


def test_shapes_and_examples_reach_the_verification(gsa: Gsa) -> None:
    ran = gsa("verify", "good.gsa", "--backend", "torch", "--shapes", "1x9", "3x4", "--examples", "6", "--json")
    assert ran.status == 0, ran.err
    cases = [row["case"] for row in ran.json["rows"]]
    shapes = list(dict.fromkeys((case["batch"], case["length"]) for case in cases))
    assert shapes[:2] == [(1, 9), (3, 4)]
    assert len(shapes) > 4
    again = gsa("verify", "good.gsa", "--backend", "torch", "--shapes", "1x9", "3x4", "--examples", "6", "--json")
    assert again.json["rows"] == ran.json["rows"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shapes", "30"), "expected BATCHxLENGTH"),
        (("--shapes", "0x3"), "expected at least 1"),
        (("--device", "sofa"), "--device sofa"),
        (("--device", "cuda", "--backend", "interpret"), "does not run on --device cuda"),
    ],
)
def test_options_that_make_no_sense(gsa: Gsa, options: tuple[str, ...], message: str) -> None:
    ran = gsa("verify", "good.gsa", *options)
    assert ran.status == 2
    assert message in ran.err


def test_a_call_that_raises_is_a_failure_too(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsa_dsl.compiler import CompiledAttention

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(CompiledAttention, "_attend", broken)
    ran = gsa("verify", "good.gsa", "--backend", "torch", "--shapes", "2x9", "--shrink", "5")
    assert ran.status == 1
    assert "RuntimeError: no such kernel" in ran.err
    assert "the smallest failure found: B=1 L=1 H=1/1" in ran.err


def test_every_node_of_a_spec_can_be_a_clause_to_drop() -> None:
    """The shrinker knows which clauses go together; a new kind of clause must be looked at there."""
    from typing import get_args

    known = {"Causal", "Full", "Documents", "Scale", "Logit", "Sink", "Gate", "Indexer", "Budget", "Select", "Always"}
    known |= {"Train", "Bound", "Assert", "Require", "Without"}
    assert {kind.__name__ for kind in get_args(ast.Clause)} <= known
