"""What gets installed: the wheel's contents, the editable install, and that both find the templates."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIND = "import gsa_dsl.paths as p; print(p.__file__); print(p.templates_dir())"


def _python(code: str, *, site: Path, cwd: Path) -> list[str]:
    """Run ``code`` with ``site`` first on the path, treated as a site-packages folder; its output's lines."""
    setup = (
        "import site, sys; before = list(sys.path); "
        f"site.addsitedir({str(site)!r}); added = [p for p in sys.path if p not in before]; "
        f"sys.path[:] = [{str(site)!r}, *added, *(p for p in before if p not in ('', {str(site)!r}))]\n"
    )
    result = subprocess.run([sys.executable, "-c", setup + code], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def _templates(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(out), "."]
    subprocess.run([*command, "--disable-pip-version-check"], cwd=ROOT, check=True, timeout=300)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_a_wheel_carries_the_templates(unpacked: Path, tmp_path: Path) -> None:
    module, templates = _python(FIND, site=unpacked, cwd=tmp_path)
    assert Path(module) == unpacked / "gsa_dsl" / "paths.py"
    assert Path(templates) == unpacked / "gsa_dsl" / "_templates"
    assert _templates(Path(templates)) == _templates(ROOT / "templates")


def test_an_installed_package_compiles_a_spec(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import gsa_dsl\n"
        f"made = gsa_dsl.compile({str(ROOT / 'examples' / 'gsa.gsa')!r}, heads=2, head_dim=16, backend='torch', "
        f"cache_dir={str(tmp_path / 'cache')!r})\n"
        "print(gsa_dsl.__file__)\n"
        "print(len(made.source))"
    )
    origin, length = _python(code, site=unpacked, cwd=tmp_path)
    assert Path(origin).is_relative_to(unpacked)
    assert int(length) > 1000


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gsa_dsl"}
    assert "gsa_dsl/py.typed" in names
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
    examples = {name.removeprefix("gsa_dsl/_examples/") for name in names if name.startswith("gsa_dsl/_examples/")}
    assert examples == {path.name for path in (ROOT / "examples").glob("*.gsa")}
    errors = {name.removeprefix("gsa_dsl/_errors/") for name in names if name.startswith("gsa_dsl/_errors/")}
    assert errors == {path.name for path in (ROOT / "docs" / "errors").glob("GSA*.md")}
    missing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gsa_dsl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - set(names)
    assert not missing


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert metadata["Name"] == "gsa-dsl"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    needed = {
        requirement.split(">=")[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra" not in requirement
    }
    assert needed == {"filelock", "jinja2", "lark", "numpy", "platformdirs", "rich", "sympy", "torch", "triton"}
    assert "gsa = gsa_dsl.cli:main" in entry_points
    assert "Apache License" in licence


def test_an_editable_install_finds_the_checkout(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    code = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, timeout=300)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(site)
    assert not (site / "gsa_dsl").exists(), "an editable install must not copy what will be edited"
    module, templates = _python(FIND, site=site, cwd=tmp_path)
    assert Path(module) == ROOT / "gsa_dsl" / "paths.py"
    assert Path(templates) == ROOT / "templates"
