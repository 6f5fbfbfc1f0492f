"""``import gsa_dsl`` is cheap, and the names it promises are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gsa_dsl

HEAVY = ("torch", "triton", "sympy", "lark", "jinja2", "rich", "numpy", "hypothesis")


def _python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    return result.stdout.strip()


def test_import_loads_nothing_heavy() -> None:
    loaded = _python("import sys, gsa_dsl; print(*sys.modules)").split()
    assert "gsa_dsl" in loaded
    assert not set(HEAVY) & set(loaded)


def test_the_command_line_loads_nothing_heavy_for_its_help() -> None:
    code = "import sys\nfrom gsa_dsl.cli import main\ntry:\n main(['--help'])\nexcept SystemExit:\n print(*sys.modules)"
    loaded = _python(code).split()
    assert "gsa_dsl.cli" in loaded
    assert not set(HEAVY) & set(loaded)


def test_import_is_fast_beside_torch() -> None:
    code = "import torch, time; start = time.perf_counter(); import gsa_dsl; print(time.perf_counter() - start)"
    assert min(float(_python(code)) for _ in range(3)) <= 0.3


@pytest.mark.parametrize("name", gsa_dsl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(gsa_dsl, name) is not None
    assert name in dir(gsa_dsl)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compyle'"):
        gsa_dsl.compyle  # noqa: B018


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        assert version("gsa-dsl") == gsa_dsl.__version__
    except PackageNotFoundError:
        pytest.skip("run from a checkout that is not installed")
