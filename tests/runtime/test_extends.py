"""Specs that extend others, compiled: from files and texts, from the cache, and after a journey."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import gsa_dsl
from gsa_dsl.testing.inputs import make_inputs

BASE = "attention base(k = 4) {\n  causal\n  gate value = sigmoid(linear(x)) per head\n  always last k\n}\n"
DERIVED = "attention derived(k = 6) extends base {\n  gate output = sigmoid(linear(x)) per head\n}\n"
SHAPE = {"heads": 2, "kv_heads": 1, "head_dim": 16, "backend": "torch"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.gsa").write_text(BASE)
    (tmp_path / "derived.gsa").write_text(DERIVED)
    return tmp_path


def compiled(spec: Any, folder: Path, **options: Any) -> gsa_dsl.CompiledAttention:
    return gsa_dsl.compile(spec, **{**SHAPE, "cache_dir": folder / "cache", **options})


def test_a_file_is_compiled_with_what_it_extends(folder: Path) -> None:
    attention = compiled(folder / "derived.gsa", folder)
    assert attention.meta["name"] == "derived"
    assert [gate["name"] for gate in attention.meta["gates"]] == ["value", "output"]
    assert attention.spec.forced.last == 6
    x = make_inputs(attention.spec, batch=1, length=20, heads=2, kv_heads=1, head_dim=16)
    expected = attention.reference(x.query, x.key, x.value, **x.keywords()).output
    torch.testing.assert_close(attention(x.query, x.key, x.value, **x.keywords()).double(), expected)


def test_comments_name_the_file_that_a_part_is_from(folder: Path) -> None:
    source = compiled(folder / "derived.gsa", folder).source
    assert "# [base.gsa:3] gate value = sigmoid(linear(x)) per head" in source
    assert "# [derived.gsa:2] gate output = sigmoid(linear(x)) per head" in source
    assert str(folder) not in source


def test_a_changed_base_is_another_module(folder: Path) -> None:
    before = compiled(folder / "derived.gsa", folder)
    assert compiled(folder / "derived.gsa", folder).path == before.path
    (folder / "base.gsa").write_text(BASE.replace("sigmoid", "tanh"))
    after = compiled(folder / "derived.gsa", folder)
    assert after.path != before.path
    assert "torch.tanh" in after.source


def test_texts_are_compiled_with_the_bases_given(folder: Path) -> None:
    given = compiled(DERIVED, folder, name="derived.gsa", bases={"base": BASE, "unused": "nothing"})
    assert given.path == compiled(folder / "derived.gsa", folder).path
    with pytest.raises(gsa_dsl.SpecError, match="GSA140"):
        compiled(DERIVED, folder)
    with pytest.raises(ValueError, match="bases goes with a spec given as text"):
        compiled(folder / "derived.gsa", folder, bases={"base": BASE})


def test_a_pickle_holds_what_is_extended(folder: Path) -> None:
    attention = compiled(folder / "derived.gsa", folder, cache_dir=None)
    kept = pickle.dumps(attention)
    for path in folder.glob("*.gsa"):
        path.unlink()
    again = pickle.loads(kept)
    assert again.path == attention.path
    assert again.spec.forced.last == 6


def test_a_broken_requirement_refuses_the_values(folder: Path) -> None:
    (folder / "base.gsa").write_text(BASE.replace("causal", "causal require k <= 8"))
    assert compiled(folder / "derived.gsa", folder, k=8).spec.forced.last == 8
    with pytest.raises(gsa_dsl.SpecError, match="here k = 9"):
        compiled(folder / "derived.gsa", folder, k=9)
