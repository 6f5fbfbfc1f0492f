"""Templates: what they ask for must be given, what is given must be asked for."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import jinja2
import pytest

from gsa_dsl.codegen import emit, library
from gsa_dsl.codegen.environment import environment
from gsa_dsl.codegen.hooks import hooks
from gsa_dsl.codegen.literal import literal
from gsa_dsl.codegen.printer import TORCH
from gsa_dsl.paths import templates_dir
from tests.codegen.generated import EXAMPLES, SMALL_TILES, plan_of_example

TEMPLATES = sorted(path.relative_to(templates_dir()).as_posix() for path in templates_dir().rglob("*.jinja"))


def contexts() -> list[tuple[str, dict[str, Any]]]:
    """Each module template with what the compiler gives it, for every example."""
    made: list[tuple[str, dict[str, Any]]] = []
    plans = [plan_of_example(name) for name in EXAMPLES]
    plans += [plan_of_example("gsa", (4, 2, 16, 40)), plan_of_example("gsa", (64, 4, 128))]
    for plan in (*plans, plan_of_example("gsa", (16, 1, 64), replace(SMALL_TILES, hopper=2))):
        given = emit._context(plan, hooks(plan))
        made.append(("module.py.jinja", {**given, "library": []}))
        made.append(("eager.py.jinja", {**given, "hooks": hooks(plan, TORCH)}))
    return made


def test_a_missing_variable_raises() -> None:
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        environment().from_string("{{ missing }}").render()
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        environment().from_string("{% if missing %}x{% endif %}").render()


@pytest.mark.parametrize("variable", sorted({name for _, given in contexts() for name in given}))
def test_no_variable_of_the_templates_may_be_missing(variable: str) -> None:
    """Left out of the context, it makes a template fail; one that no template misses is not needed."""

    def render_all() -> None:
        for template, given in contexts():
            environment().get_template(template).render({name: x for name, x in given.items() if name != variable})

    with pytest.raises(jinja2.UndefinedError, match=variable):
        render_all()


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_use_nothing_that_hides_a_missing_variable(name: str) -> None:
    text = (templates_dir() / name).read_text(encoding="utf-8")
    tree = environment().parse(text)
    tests = {node.name for node in tree.find_all(jinja2.nodes.Test)}
    filters = {node.name for node in tree.find_all(jinja2.nodes.Filter)}
    assert not tests & {"defined", "undefined"}
    assert not filters & {"default", "d"}


def test_the_library_is_read_with_its_decorators() -> None:
    functions = library.functions()
    assert {"sigmoid", "tanh", "silu", "softplus", "power", "rank_of", "score_of"} <= set(functions)
    for name, source in functions.items():
        (node,) = ast.parse(source).body
        assert isinstance(node, ast.FunctionDef)
        assert node.name == name
        assert source.startswith("@triton.jit\n")


def test_what_is_called_is_needed_and_what_is_mentioned_is_not() -> None:
    text = "def f(x):\n    '''sigmoid(x)'''\n    tanh = 1\n    return g(maximum(x)) + module.silu(x)  # power(x)"
    assert library.needed(text) == [library.functions()["maximum"]]


def test_what_a_helper_calls_is_needed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {
        "inner": "def inner(x):\n    return x",
        "outer": "def outer(x):\n    return inner(x)",
        "other": "def other(): ...",
    }
    monkeypatch.setattr(library, "functions", lambda: sources)
    assert library.needed("y = outer(1)") == [sources["inner"], sources["outer"]]


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ({}, 0),
        ({"a": None, "b": [1, 2.5, "text"]}, 0),
        ({"long": ["x" * 30] * 5, "short": []}, 7),
        ({f"kernel_{i}": {"num_warps": 4, "num_stages": i} for i in range(6)}, 9),
        ([{"name": "é\"'\\"}], 0),
    ],
)
def test_literals_read_back_and_stay_within_the_line(value: object, start: int) -> None:
    text = literal(value, start=start)
    assert ast.literal_eval(text) == value
    first, *others = text.splitlines()
    assert start + len(first) <= 120
    assert all(len(line) <= 120 for line in others)
