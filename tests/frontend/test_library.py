"""Specs that extend others: where bases are looked for, and where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gsa_dsl.diagnostics import codes
from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.library import MAX_LEVELS, among, bare_names, bases_of, load, with_bases

BASE = "attention base { causal }"


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.gsa").write_text(text, encoding="utf-8")


def refused(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load(path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code in codes.CODES
    assert diagnostic.fix
    assert caught.value.source.text[diagnostic.span.start : diagnostic.span.end].isidentifier()
    return f"{diagnostic.message}: {diagnostic.reason}"


def test_a_chain_is_read_from_the_folder(tmp_path: Path) -> None:
    write(tmp_path, c=BASE, b="attention b extends c {}", a="attention a extends b {}")
    source = load(tmp_path / "a.gsa")
    assert source.base is not None
    assert source.base.base is not None
    assert source.base.base.text == BASE
    assert source.base.base.base is None
    assert source.base.name == str(tmp_path / "b.gsa")
    assert bare_names(source).base == Source("b.gsa", "attention b extends c {}", Source("c.gsa", BASE))
    assert list(bases_of(source)) == ["b", "c"]


def test_a_spec_that_extends_nothing_reads_nothing(tmp_path: Path) -> None:
    write(tmp_path, a="# extends\nattention a(extends = 2) { causal scale extends }")
    assert load(tmp_path / "a.gsa").base is None


def test_only_the_folder_of_the_spec_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "specs", a="attention a extends b {}")
    write(tmp_path, b=BASE)
    monkeypatch.chdir(tmp_path)
    assert "there is no file b.gsa beside this one" in refused(Path("specs/a.gsa"))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", secret=BASE)
    write(tmp_path / "specs", a="attention a extends b {}", real=BASE)
    link = tmp_path / "specs" / "b.gsa"
    link.symlink_to(tmp_path / "elsewhere" / "secret.gsa")
    assert "b.gsa is a link out of the folder" in refused(tmp_path / "specs" / "a.gsa")
    link.unlink()
    link.symlink_to("real.gsa")
    assert load(tmp_path / "specs" / "a.gsa").base == Source(str(link), BASE)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, a="attention a extends b {}")
    os.mkfifo(tmp_path / "b.gsa")
    assert "there is no file b.gsa" in refused(tmp_path / "a.gsa")
    (tmp_path / "b.gsa").unlink()
    (tmp_path / "b.gsa").mkdir()
    assert "there is no file b.gsa" in refused(tmp_path / "a.gsa")


@pytest.mark.parametrize("name", ["../b", "/etc/passwd", "b.gsa", "'b'"])
def test_a_path_cannot_be_written(name: str, tmp_path: Path) -> None:
    write(tmp_path, a=f"attention a extends {name} {{ causal }}", b=BASE)
    with pytest.raises(SpecError):
        load(tmp_path / "a.gsa")


def test_going_round_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a="attention a extends b {}", b="attention b extends c {}", c="attention c extends b {}")
    assert refused(tmp_path / "a.gsa") == "'b' extends itself: it goes round: b extends c extends b"
    write(tmp_path, c="attention c extends a {}")
    assert refused(tmp_path / "a.gsa").endswith("a extends b extends c extends a")


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    for level in range(MAX_LEVELS + 1):
        write(tmp_path, **{f"s{level}": f"attention a extends s{level + 1} {{}}"})
    write(tmp_path, **{f"s{MAX_LEVELS + 1}": BASE})
    assert len(bases_of(load(tmp_path / "s1.gsa"))) == MAX_LEVELS
    assert "too many specs extend one another" in refused(tmp_path / "s0.gsa")


def test_mistakes_of_a_base_are_told_as_its_own(tmp_path: Path) -> None:
    write(tmp_path, a="attention a extends b {}", b="attention b extends c { causl }", c=BASE)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "a.gsa")
    assert caught.value.source.name == str(tmp_path / "b.gsa")
    (tmp_path / "b.gsa").write_bytes(b"attention \xff")
    with pytest.raises(SpecError, match="not UTF-8"):
        load(tmp_path / "a.gsa")


def test_texts_that_the_caller_gives(tmp_path: Path) -> None:
    text = Source("<string>", "attention a extends b {}")
    found = with_bases(text, among({"b": BASE}))
    assert found.base == Source("b.gsa", BASE)
    with pytest.raises(SpecError, match=r"bases holds \['c'\]"):
        with_bases(text, among({"c": BASE}))
