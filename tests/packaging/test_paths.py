"""Finding the files that are shipped beside the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsa_dsl.paths import errors_dir, examples_dir, templates_dir

ROOT = Path(__file__).resolve().parents[2]


def test_the_checkout_uses_its_own_templates() -> None:
    assert templates_dir() == ROOT / "templates"
    assert examples_dir() == ROOT / "examples"
    assert errors_dir() == ROOT / "docs" / "errors"


def test_an_installed_package_uses_the_ones_inside(tmp_path: Path) -> None:
    inside = tmp_path / "gsa_dsl" / "_templates"
    inside.mkdir(parents=True)
    assert templates_dir(tmp_path / "gsa_dsl") == inside


def test_a_foreign_templates_folder_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "gsa_dsl").mkdir()
    (tmp_path / "templates").mkdir()
    with pytest.raises(FileNotFoundError, match="no kernel templates"):
        templates_dir(tmp_path / "gsa_dsl")


def test_the_error_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        templates_dir(tmp_path / "gsa_dsl")
    assert str(tmp_path / "gsa_dsl" / "_templates") in str(raised.value)
    assert str(tmp_path / "templates") in str(raised.value)
