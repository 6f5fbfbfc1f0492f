"""Files and texts that are refused before they are parsed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.frontend.reader import MAX_DEPTH
from gsa_dsl.frontend.sources import MAX_SIZE, read_source
from tests.frontend.specs import mistakes, read


def test_the_text_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.gsa"
    path.write_bytes("# é\r\nattention a { causal }".encode())
    source = read_source(path)
    assert (source.name, source.text) == (str(path), "# é\r\nattention a { causal }")


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.gsa"
    path.write_bytes(b"\xef\xbb\xbfattention a { causal }")
    assert read_source(path).text == "attention a { causal }"


def test_other_encodings_are_refused_at_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.gsa"
    path.write_bytes("# é\n# caf".encode() + b"\xe9\n")
    with pytest.raises(SpecError) as caught:
        read_source(path)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.span.line, diagnostic.span.column) == ("GSA017", 2, 6)


def test_a_missing_file_is_the_callers_to_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_source(tmp_path / "none.gsa")


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\r", "\u202e", "\u200b", "\ud800"])
def test_unreadable_characters(character: str) -> None:
    (diagnostic,) = mistakes(f"attention a {{\n  causal # {character}x\n}}")
    assert (diagnostic.code, diagnostic.span.line) == ("GSA017", 2)


def test_a_huge_line_is_refused_quickly(tmp_path: Path) -> None:
    path = tmp_path / "huge.gsa"
    path.write_bytes(b"(" * 10_000_000)
    begin = time.perf_counter()
    with pytest.raises(SpecError) as caught:
        read_source(path)
    (diagnostic,) = mistakes("(" * 10_000_000)
    assert time.perf_counter() - begin < 2
    assert diagnostic.code == caught.value.diagnostics[0].code == "GSA018"
    assert len(str(caught.value)) < 1000


def test_the_largest_spec_is_read() -> None:
    head, tail = "attention a {\n", "causal }"
    read(head + "#" * (MAX_SIZE - len(head) - len(tail) - 1) + "\n" + tail)


@pytest.mark.parametrize(
    "deep",
    [
        "(" * 10_000 + "1" + ")" * 10_000,
        "f(" * 10_000,
        "[" * 5000,
        "-" * 10_000 + "1",
        "1" + "^1" * 5000,
        "1" + "+1" * 5000,
        "1" + "*1" * 5000,
        "sum(j) " * 5000 + "1",
    ],
)
def test_deep_nesting_is_refused(deep: str) -> None:
    assert [diagnostic.code for diagnostic in mistakes(f"attention a {{ scale {deep} }}")] == ["GSA019"]


def test_the_deepest_spec_is_read() -> None:
    brackets = MAX_DEPTH - 1
    read(f"attention a {{ scale {'(' * brackets}1{')' * brackets} }}")
    read(f"attention a {{ scale 1{' + 1' * 90} }}")
