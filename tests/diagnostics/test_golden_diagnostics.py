"""Every wrong spec of ``tests/golden/diagnostics`` is answered with exactly the text beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from gsa_dsl.diagnostics.codes import CODES
from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.frontend.library import bare_names, load
from gsa_dsl.frontend.parser import parse

FOLDER = Path(__file__).parents[1] / "golden" / "diagnostics"
GRAMMAR = resources.files("gsa_dsl.frontend").joinpath("grammar.lark").read_text(encoding="utf-8")
TERMINALS = {"COMMA", "EQUAL", "LBRACE", "RBRACE", *re.findall(r"^([A-Z_]+)(?:\.-?\d+)?:", GRAMMAR, re.M)}
# Specs that others extend are no mistakes themselves.
SPECS = sorted(path for path in FOLDER.glob("*.gsa") if not path.name.startswith("base_"))
# Mistakes of a caller: the values these specs' parameters are bound to.
BOUND_TO: dict[str, dict[str, Any]] = {
    "sem_unknown_parameter": {"k_mx": 512},
    "sem_parameter_value": {"k_max": "512"},
}
# Specs given as text: what they extend is not known.
AS_TEXT = {"sem_extends_text"}


def mistakes(path: Path) -> SpecError:
    """What the front end says of the spec; it is reported under its bare file name."""
    from gsa_dsl.sema.check import check

    try:
        source = bare_names(load(path))
        if path.stem in AS_TEXT:
            source = replace(source, base=None)
        check(parse(source), BOUND_TO.get(path.stem, {}))
    except SpecError as error:
        # An error of reading itself still carries the path it was given.
        return SpecError(bare_names(error.source), error.diagnostics)
    pytest.fail(f"{path.name} is accepted")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_rendered_text(path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(path.with_suffix(".txt"), f"{mistakes(path)}\n")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_mistake_is_complete(path: Path) -> None:
    error = mistakes(path)
    rendered = str(error)
    for diagnostic in error.diagnostics:
        file = error.source.of(diagnostic.span).name
        assert f"{file}:{diagnostic.span.line}:{diagnostic.span.column}" in rendered
        assert diagnostic.code in CODES
        assert diagnostic.message
        assert diagnostic.fix
    said = "\n".join(f"{each.message} {each.reason} {each.fix}" for each in error.diagnostics)
    assert not set(re.findall(r"\w+", said)) & TERMINALS


def test_every_code_has_a_golden() -> None:
    produced = {diagnostic.code for path in SPECS for diagnostic in mistakes(path).diagnostics}
    assert sorted(set(CODES) - produced) == []


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {path.stem for path in SPECS}
