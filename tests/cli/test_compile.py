"""``gsa compile``: what is written, where, and when nothing is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import gsa_dsl
from gsa_dsl.cli import files
from gsa_dsl.cli.status import Misuse
from tests.cli.running import Gsa

SHAPE = ("--heads", "4", "--kv-heads", "2", "--head-dim", "16")


def test_the_file_is_what_compile_generates(gsa: Gsa) -> None:
    ran = gsa("compile", "examples/gsa.gsa", "-o", "out/deep", "-p", "k_base=64", "-p", "k_min=8", *SHAPE)
    assert (ran.status, ran.out) == (0, "out/deep/gsa.py\n"), ran.err
    made = gsa_dsl.compile(
        "examples/gsa.gsa", heads=4, kv_heads=2, head_dim=16, backend="interpret", k_base=64, k_min=8
    )
    assert Path("out/deep/gsa.py").read_text() == made.source
    assert os.listdir("out/deep") == ["gsa.py"]


def test_parameters_and_shape_reach_the_code(gsa: Gsa) -> None:
    gsa("compile", "examples/gsa.gsa", "-o", "a", *SHAPE)
    gsa("compile", "examples/gsa.gsa", "-o", "b", "-p", "k_max=300", *SHAPE)
    gsa("compile", "examples/gsa.gsa", "-o", "c", "--heads", "8", "--kv-heads", "2", "--head-dim", "32")
    texts = {Path(folder, "gsa.py").read_text() for folder in "abc"}
    assert len(texts) == 3


def test_without_a_folder_it_is_here(gsa: Gsa) -> None:
    ran = gsa("compile", "good.gsa", *SHAPE)
    assert (ran.status, ran.out) == (0, "good.py\n")
    assert "def attention(" in Path("good.py").read_text()


def test_the_folder_of_the_spec_does_not_matter(gsa: Gsa) -> None:
    Path("moved").mkdir()
    Path("moved/good.gsa").write_bytes(Path("good.gsa").read_bytes())
    gsa("compile", "good.gsa", "-o", "a", *SHAPE)
    gsa("compile", str(Path("moved/good.gsa").resolve()), "-o", "b", *SHAPE)
    assert Path("a/good.py").read_text() == Path("b/good.py").read_text()


def test_json(gsa: Gsa) -> None:
    ran = gsa("compile", "good.gsa", "-o", "out", "--json", "-p", "k=5", "--backend", "torch", *SHAPE)
    assert ran.json == {
        "ok": True,
        "name": "good",
        "path": "out/good.py",
        "backend": "torch",
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
        "value_dim": 16,
        "params": {"k": 5},
    }


def test_nothing_is_written_for_a_wrong_spec(gsa: Gsa) -> None:
    before = sorted(Path().rglob("*"))
    assert gsa("compile", "wrong.gsa", "-o", "out").status == 1
    assert gsa("compile", "good.gsa", "-o", "out", "-p", "k=-1").status == 1
    assert sorted(Path().rglob("*")) == before


def test_an_existing_file_is_replaced_and_readable_as_others(gsa: Gsa) -> None:
    Path("out").mkdir()
    Path("out/good.py").write_text("old")
    Path("out/plain").touch()
    assert gsa("compile", "good.gsa", "-o", "out", *SHAPE).status == 0
    assert Path("out/good.py").read_text() != "old"
    assert stat.S_IMODE(Path("out/good.py").stat().st_mode) == stat.S_IMODE(Path("out/plain").stat().st_mode)


def test_a_place_that_cannot_be_written_is_misuse(gsa: Gsa) -> None:
    ran = gsa("compile", "good.gsa", "-o", "good.gsa", *SHAPE)
    assert (ran.status, ran.out) == (2, "")
    assert "cannot write good.gsa/good.py" in ran.err


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file.py"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(Misuse, match="No space left"):
        files.write_file(target, "new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.py"]


def test_the_file_needs_no_gsa_dsl(gsa: Gsa) -> None:
    assert gsa("compile", "examples/gated.gsa", "-o", "out", "--backend", "torch", *SHAPE).status == 0
    code = (
        "import sys; sys.modules['gsa_dsl'] = None; sys.path.insert(0, 'out')\n"
        "import torch, gated\n"
        "q, k, v, z = (torch.randn(1, heads, 9, 16) for heads in (4, 2, 2, 4))\n"
        "result = gated.attention(q, k, v, {'output': z}, {}, None, 'sparse', None, False)\n"
        "print(list(result.output.shape))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (result.stdout, result.stderr) == ("[1, 4, 9, 16]\n", "")
