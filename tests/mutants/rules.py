"""Mutants made from the sources themselves: every place where a rule's pattern stands in a line of code."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.mutants.mutant import Mutant


@dataclass(frozen=True)
class Rule:
    """Replace ``pattern`` by ``instead``; on lines that match ``only``, if given, and do not match ``never``."""

    name: str
    pattern: str
    instead: str
    only: str = ""
    never: str = ""


_ADDRESS = r"stride|_off\b.* = |_ptr \+=|num_warps|tl\.load|tl\.store|atomic_add"
RULES = (
    Rule("<= to <", r" <= ", " < "),
    Rule("< to <=", r" < ", " <= ", never=r"< DIM|< INDEX_DIM|< VALUE_DIM|rows < length"),
    Rule(">= to >", r" >= ", " > "),
    Rule("> to >=", r" > ", " >= "),
    Rule("== to !=", r" == ", " != ", never=r"\{%"),
    Rule("+ to -", r" \+ (?=[\w(])", " - ", never=_ADDRESS + "|~"),
    Rule("- to +", r" - (?=[\w(])", " + ", never=_ADDRESS + "|~"),
    Rule("drop + 1", r" \+ 1\b(?!\.)", "", never=_ADDRESS),
    Rule("drop - 1", r" - 1\b(?!\.)", "", never=_ADDRESS),
    Rule(
        "drop a factor",
        r" \* (?!torch|tl\.arange)[A-Za-z_][\w.]*(\[[^\]]*\])?(?![\w(.{])",
        "",
        never=_ADDRESS + "|BLOCK|TILE|_KEYS",
    ),
    Rule("+= to =", r" \+= ", " = ", never="_ptr|acc"),
    Rule("-= to +=", r" -= ", " += "),
    Rule("maximum to minimum", r"\bmaximum\(", "minimum("),
    Rule("minimum to maximum", r"\bminimum\(", "maximum("),
    Rule("max to min", r"(tl\.|\.a)max\(", r"\1min("),
    Rule("min to max", r"(tl\.|\.a)min\(", r"\1max("),
    Rule("drop a mask", r" & (\([^()]*\)|~?[a-z_]\w*)(\[[^\]]*\])?(?=[\s),]|$)", "", never=r"\{%"),
    Rule("drop a negation", r"~(?=[\w(])", "", never=r" ~ "),
    Rule("swap branches", r"where\(([^(),]+), ([^(),]+), ([^(),]+)\)", r"where(\1, \3, \2)", never=r"\{%"),
    Rule("drop the last block", r"cdiv\(([^(),]+), ([^(),]+)\)", r"cdiv(\1 - \2 + 1, \2)"),
    Rule("-inf to 0", r'float\("-inf"\)', "0.0"),
    Rule("exp2 to exp", r"\bexp2\(", "exp("),
    Rule("log2 to log", r"\blog2\(", "log("),
    Rule("another base", r"\b(LOG2E|LN2)\b", "1.0", never="constexpr"),
    Rule("one key more", r"\b(FIRST|LAST)\b(?!\.value)", r"(\1 + 1)", never="constexpr|set "),
    Rule("leak a gradient", r"\.detach\(\)", ""),
    Rule("0.0 to 1.0", r"\b0\.0\b", "1.0", never="other=|acc|zeros"),
    Rule("swap ONE and ZERO", r"\bONE\b(?!,? ZERO)", "ZERO", only=r"apply|lambda|return"),
    Rule("add to sub", r'"add"(?=, )', '"sub"', only="apply"),
    Rule("sub to add", r'"sub"(?=, )', '"add"', only="apply"),
    Rule("mul to add", r'"mul"(?=, )', '"add"', only="apply"),
    Rule("lt to gt", r'"lt"(?=, )', '"gt"', only="apply"),
    Rule("gt to lt", r'"gt"(?=, )', '"lt"', only="apply"),
    Rule("other derivative", r"\bd\[0\], d\[1\]", "d[1], d[0]"),
    Rule("other argument", r"e\.args\[1\], e\.args\[0\]", "e.args[0], e.args[1]"),
    Rule("another constant", r"Const\((-1\.0|0\.5)\)", "Const(1.0)", only="apply|lambda"),
)


def generated(files: dict[str, str]) -> list[Mutant]:
    """Every mutant of every rule, in the order of the files."""
    found = [mutant for file, text in files.items() for mutant in _of_file(file, text)]
    return sorted(found, key=lambda mutant: (mutant.file, mutant.start, mutant.rule))


def sample(mutants: list[Mutant], per_rule: int) -> list[Mutant]:
    """At most ``per_rule`` mutants of a file and rule: always the same ones, whatever else is in the file."""
    taken: Counter[tuple[str, str]] = Counter()
    kept = []
    for mutant in sorted(mutants, key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest()):
        group = mutant.file, mutant.rule
        if taken[group] < per_rule:
            taken[group] += 1
            kept.append(mutant)
    return sorted(kept)


def _of_file(file: str, text: str) -> Iterator[Mutant]:
    seen: Counter[str] = Counter()
    for begin, line in _code(text, jinja=file.endswith(".jinja")):
        for rule in RULES:
            if (rule.only and not re.search(rule.only, line)) or (rule.never and re.search(rule.never, line)):
                continue
            for number, match in enumerate(re.finditer(rule.pattern, line)):
                if 0 <= line.find('{{ "  # fmt') < match.start():
                    continue  # in what decides whether a comment is printed
                instead = match.expand(rule.instead)
                name = f"{file}: {rule.name}{f' ({number + 1})' if number else ''}: {line.strip()}"
                seen[name] += 1
                name += f" [{seen[name]}]" if seen[name] > 1 else ""
                yield Mutant(file, rule.name, name, begin + match.start(), begin + match.end(), instead)


def _code(text: str, *, jinja: bool) -> Iterator[tuple[int, str]]:
    """Lines that hold code, with their offsets: without comments, docstrings, and lines of Jinja alone."""
    begin, quoted, noted = 0, False, False
    for line in text.splitlines(keepends=True):
        offset, begin = begin, begin + len(line)
        quotes = line.count('"""')
        inside, quoted = quoted, quoted != (quotes % 2 == 1)
        remark, noted = noted, (noted or "{#" in line) and "#}" not in line
        bare = line.strip()
        if inside or quotes or remark or "{#" in line or not bare or bare.startswith(("#", "from ", "import ", "def ")):
            continue
        if jinja and bare.startswith("{%") and bare.endswith("%}") and "set" not in bare:
            continue
        yield offset, re.split(r"  # (?!fmt)", line)[0].rstrip("\n")
