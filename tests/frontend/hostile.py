"""Texts that a careless front end chokes on, and the program that reads them under a clock: ``python hostile.py DIR``.

Prints a JSON line for every file: the mistakes' codes (None if the text was accepted), the processor seconds that it
took to check and report, those to format, and the most memory the process has held so far, in MiB.
"""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

MIB = 1024 * 1024


def _clauses(text: str) -> bytes:
    return f"attention a {{\n  causal\n{text}\n}}\n".encode()


def _scale(text: str) -> bytes:
    return _clauses(f"  scale {text}")


_BLOCK = "indexer {{ heads 4 dim 64 keys shared score[t, s] = {} }} select top 4 tokens"

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "one_long_line": b"attention a { causal scale " + b"1 + " * (10 * MIB // 4) + b"1 }",
    "one_long_word": b"a" * 10 * MIB,
    "one_long_comment": b"#" * 10 * MIB,
    "only_spaces": b" " * 60_000,
    "only_newlines": b"\n" * 60_000,
    "nested_parentheses": _scale("(" * 10_000 + "1" + ")" * 10_000),
    "opening_parentheses": _scale("(" * 10_000),
    "closing_parentheses": _scale(")" * 10_000),
    "nested_brackets": b"[" * 60_000,
    "nested_braces": b"attention a " + b"{" * 50_000,
    "nested_calls": _scale("abs(" * 10_000 + "1" + ")" * 10_000),
    "powers": _scale("2^" * 20_000 + "2"),
    "negative_powers": _scale("2^-" * 15_000 + "2"),
    "minuses": _scale("-" * 50_000 + "1"),
    "sum": _scale("1 + " * 15_000 + "1"),
    "product": _scale("2 * " * 15_000 + "1"),
    "sums_of_powers": _scale("1^2 + " * 90 + "1"),
    "reductions": _clauses(_BLOCK.format("sum(j) " * 8_000 + "w[t, j]")),
    "dots": _clauses(_BLOCK.format("sum(j) " + "q[t, j] . " * 5_000 + "k[s]")),
    "arguments": _scale(f"max({'1, ' * 12_000}1)"),
    "keywords": _scale(f"max({'a = 1, ' * 8_000}b = 1)"),
    "subscripts": _clauses(f"  budget[{'t, ' * 20_000}t] = 1"),
    "parameters": f"attention a({', '.join(f'p{i} = {i}' for i in range(5_000))}) {{ causal }}".encode(),
    "parameters_of_each_other": f"attention a(p0 = 1, {', '.join(f'p{i + 1} = p{i} + p{i}' for i in range(2_000))}) "
    "{ causal }".encode(),
    "the_same_parameter": f"attention a({', '.join(['p = 1'] * 6_000)}) {{ causal }}".encode(),
    "many_clauses": _clauses("causal\n" * 8_000),
    "many_gates": _clauses("gate output = sigmoid(linear(x)) per head\n" * 1_400),
    "many_bounds": _clauses("bound selected <= O(L)\n" * 300),
    "many_unknown_clauses": _clauses("frobnicate 1\n" * 4_000),
    "many_unknown_names": _scale(" + ".join(["lenght"] * 90)),
    "many_stray_signs": _clauses("?\n" * 20_000),
    "many_attentions": b"attention a { causal }\n" * 2_500,
    "nul_bytes": b"attention a { causal \x00\x00 }",
    "only_nul_bytes": b"\x00" * 60_000,
    "not_utf8": b"attention \xff\xfe\xc3( { causal }",
    "half_a_character": "attention a { causal } # é".encode()[:-1],
    "utf16": "attention a { causal }".encode("utf-16"),
    "surrogates": b"attention a { causal } # \xed\xa0\x80",
    "carriage_returns": b"attention a {\r causal\r }",
    "right_to_left": "attention a { causal } # \u202e evil".encode(),
    "huge_number": _scale("9" * 60_000),
    "huge_exponent": _scale("1e999999999"),
    "tower": _scale("9^9^9^9^9^9"),
    "huge_size": _clauses("always last 10^300"),
    "no_end": b"attention a { indexer { heads",
}


def peak_memory() -> float:
    """The most memory this process has held, in MiB: ru_maxrss would count what its parent held when it was forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def main(folder: str) -> None:
    """Answer every text in ``folder``, in order of their names."""
    from gsa_dsl.diagnostics.errors import SpecError
    from gsa_dsl.frontend.format import FormattingError, format_source
    from gsa_dsl.frontend.parser import parse
    from gsa_dsl.frontend.sources import read_source
    from gsa_dsl.sema.check import check

    for path in sorted(Path(folder).iterdir()):
        start = time.process_time()
        codes: list[str] | None = None
        try:
            source = read_source(path)
            check(parse(source))
        except SpecError as error:
            codes = [diagnostic.code for diagnostic in error.diagnostics]
            str(error)
        checked = time.process_time()
        with suppress(SpecError, FormattingError):
            format_source(read_source(path))
        formatted = time.process_time()
        memory = peak_memory()
        answer = {"name": path.stem, "codes": codes, "check": checked - start, "format": formatted - checked}
        print(json.dumps({**answer, "memory": memory}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
