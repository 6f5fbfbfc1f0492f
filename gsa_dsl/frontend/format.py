"""One way to lay a spec out: ``format_source`` puts every clause on its line and keeps every comment.

A row is what stands on a line of its own: the header, a clause, a line of the indexer, a closing brace. How a row is
laid out hangs on its node (``RULES``): consecutive rows of one kind may line up in columns. A row that is too long is
broken at its sums, its products or its longest bracket; one with a comment in it only where the comment is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise, zip_longest

from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.parser import parse_with_tokens
from gsa_dsl.frontend.pieces import CLOSING, OPENING, Piece, children, comments, pieces
from gsa_dsl.frontend.sources import MAX_SIZE

WIDTH = 120
_INDENT = 2
_RAGGED = 24


class FormattingError(Exception):
    """A spec cannot be formatted, and nothing is changed: the new text would be too large, or mean something else."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``columns``: the words that begin a column in a run of such rows, each with the spaces before it.

    ``block``: the node's children are rows of their own.
    """

    columns: tuple[tuple[str, int], ...] = ()
    block: bool = False


_PLAIN = Rule()
RULES: dict[type[ast.Node], Rule] = {
    ast.Causal: _PLAIN,
    ast.Full: _PLAIN,
    ast.Documents: _PLAIN,
    ast.Scale: _PLAIN,
    ast.Logit: _PLAIN,
    ast.Sink: _PLAIN,
    ast.Gate: Rule(columns=(("=", 1), ("per", 2), ("starts", 2))),
    ast.Indexer: Rule(block=True),
    ast.Setting: _PLAIN,
    ast.Score: _PLAIN,
    ast.Budget: _PLAIN,
    ast.Select: _PLAIN,
    ast.Always: _PLAIN,
    ast.Train: _PLAIN,
    ast.Bound: Rule(columns=(("<=", 1),)),
    ast.Assert: _PLAIN,
    ast.Require: _PLAIN,
    ast.Without: _PLAIN,
}


def format_source(source: Source) -> str:
    """The canonical text of the spec in ``source``, with ``\\n`` line ends.

    Formatting the result again changes nothing. Raises SpecError for a text that does not parse, and FormattingError
    rather than return a text of another meaning, or one too large to be read again.
    """
    tree, every = _read(source)
    text = "\n".join(_beside(_lines(_rows(tree, every)))).strip("\n") + "\n"
    if len(text) > MAX_SIZE:
        raise FormattingError(f"{source.name}: formatted, it would be larger than {MAX_SIZE // 1024} KiB")
    again, kept = _read(Source(source.name, text))
    if not same_tree(tree, again) or comments(every) != comments(kept):
        raise FormattingError(f"{source.name}: formatting would change what it says; please report this spec")
    return text


def same_tree(a: object, b: object) -> bool:
    """Whether two syntax trees say the same, wherever it stands."""
    return _bare(a) == _bare(b)


def _bare(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_bare, value))
    if is_dataclass(value):
        inner = (getattr(value, field.name) for field in fields(value))
        return (type(value), *(_bare(child) for child in inner if not isinstance(child, (Source, Span))))
    return value


def _read(source: Source) -> tuple[ast.Spec, tuple[Piece, ...]]:
    tree, tokens = parse_with_tokens(source)
    return tree, pieces(tree, tokens)


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    rule: Rule
    indent: int
    pieces: tuple[Piece, ...]

    @property
    def above(self) -> tuple[str, ...]:
        return self.pieces[0].above

    @property
    def commented(self) -> bool:
        """Whether a comment stands within the row."""
        return any(any(piece.above) for piece in self.pieces[1:]) or any(piece.beside for piece in self.pieces[:-1])

    @property
    def broken(self) -> bool:
        """Whether the row takes several lines."""
        return self.commented or self.indent + len(_joined(self.pieces)) > WIDTH

    def cells(self) -> list[str]:
        """The row's text cut before each word that begins a column."""
        cut, levels = [0], _levels(self.pieces)
        for word, _ in self.rule.columns:
            places = range(cut[-1] + 1, len(self.pieces))
            cut += [i for i in places if levels[i] == 0 and self.pieces[i].text == word][:1]
        return [_joined(self.pieces[start:end]) for start, end in pairwise([*cut, len(self.pieces)])]


def _rows(tree: ast.Spec, every: Sequence[Piece]) -> list[_Row]:
    begins = dict(_begins(tree))
    rows: list[_Row] = []
    row: list[Piece] = []
    rule, depth = _PLAIN, 0
    for before, piece in pairwise((None, *every)):
        assert piece is not None
        opened = before is not None and before.text == "{"
        if row and (opened or piece.start in begins or piece.text in ("}", "")):
            rows.append(_Row(rule, depth * _INDENT, tuple(row)))
            row, rule = [], begins.get(piece.start, _PLAIN)
        depth += opened - (piece.text == "}")
        row.append(_trimmed(piece, first=opened or before is None, last=piece.text in ("}", "")))
    return [*rows, _Row(_PLAIN, 0, tuple(row))]


def _begins(node: ast.Spec | ast.Node) -> Iterator[tuple[int, Rule]]:
    """Where the rows of clauses begin, and their rules."""
    for child in node.clauses if isinstance(node, ast.Spec) else children(node):
        rule = RULES[type(child)]
        yield child.span.start, rule
        if rule.block:
            yield from _begins(child)


def _trimmed(piece: Piece, *, first: bool, last: bool) -> Piece:
    """Without blank lines at the edges of a block."""
    above = piece.above
    if first and above[:1] == ("",):
        above = above[1:]
    if last and piece.text and above[-1:] == ("",):
        above = above[:-1]
    return replace(piece, above=above)


# --- lines -----------------------------------------------------------------------------------------------------------

_Line = tuple[str, str]
"""A line's text and the comment beside it, if any."""


def _lines(rows: list[_Row]) -> Iterator[_Line]:
    run: list[_Row] = []
    for row in rows:
        if run and (row.broken or row.above or row.rule is not run[0].rule):
            yield from _aligned(run)
            run = []
        if row.broken:
            yield from _above(row)
            yield from _at_comments(row) if row.commented else _too_long(row)
        elif row.rule.columns:
            run.append(row)
        else:
            yield from _aligned([row])
    yield from _aligned(run)


def _above(row: _Row) -> Iterator[_Line]:
    # A comment before a closing brace belongs to the block that the brace closes.
    indent = " " * (row.indent + _INDENT * (row.pieces[0].text == "}"))
    yield from ((f"{indent}{line}".rstrip(), "") for line in row.above)


def _aligned(run: list[_Row]) -> Iterator[_Line]:
    """Rows of one kind on a line each, their columns one below the other."""
    table = [row.cells() for row in run]
    widths = [max(map(len, column)) for column in zip_longest(*table, fillvalue="")]
    for row, cells in zip(run, table, strict=True):
        gaps = [gap for _, gap in row.rule.columns] + [0]
        padded = (cell.ljust(width) + " " * gap for cell, width, gap in zip(cells, widths, gaps, strict=False))
        yield from _above(row)
        yield " " * row.indent + "".join(padded).rstrip(), row.pieces[-1].beside


def _too_long(row: _Row) -> Iterator[_Line]:
    *most, (indent, last) = _wrapped(row.pieces, row.indent)
    yield from ((" " * indent + _joined(line), "") for indent, line in most)
    yield " " * indent + _joined(last), row.pieces[-1].beside


def _at_comments(row: _Row) -> Iterator[_Line]:
    line: list[Piece] = []
    margin = " " * row.indent
    for position, (piece, level) in enumerate(zip(row.pieces, _levels(row.pieces), strict=True)):
        above = [comment for comment in piece.above if comment] if position else []
        if above and line:
            yield margin + _joined(line), ""
            line = []
        if not line and position:
            margin = " " * (row.indent + _INDENT * (level if piece.text in CLOSING else max(1, level)))
        yield from ((margin + comment, "") for comment in above)
        line.append(piece)
        if piece.beside:
            yield margin + _joined(line), piece.beside
            line = []
    if line:
        yield margin + _joined(line), ""


def _beside(lines: Iterator[_Line]) -> Iterator[str]:
    """Lines with their comments, one below the other where neighbours of like length have some."""
    run: list[_Line] = []
    for line in (*lines, ("", "")):
        if run and not (line[1] and _belong(*run, line)):
            width = max(len(text) for text, _ in run)
            yield from (f"{text.ljust(width)}  {comment}" for text, comment in run)
            run = []
        if line[1]:
            run.append(line)
        else:
            yield line[0]


def _belong(*run: _Line) -> bool:
    """Whether the comments of these lines stand one below the other: at one level, after texts of like length."""
    indents = {len(text) - len(text.lstrip()) for text, _ in run}
    lengths = [len(text) for text, _ in run]
    return len(indents) == 1 and max(lengths) - min(lengths) <= _RAGGED


def _wrapped(line: Sequence[Piece], indent: int) -> list[tuple[int, Sequence[Piece]]]:
    """``line`` broken into lines of at most ``WIDTH`` columns where it can be: before the signs of a sum, else of a
    product, else with the arguments of its longest bracket on lines of their own.
    """
    if indent + len(_joined(line)) <= WIDTH:
        return [(indent, line)]
    levels = _levels(line)
    for signs in ("+-", "*/"):
        cuts = [i for i in range(1, len(line) - 1) if levels[i] == 0 and _is_sign(line, i, signs)]
        if cuts:
            first, *others = [line[start:end] for start, end in pairwise([0, *cuts, len(line)])]
            below = [part for other in others for part in _wrapped(other, indent + _INDENT)]
            return [*_wrapped(first, indent), *below]
    bracket = max(_brackets(line), key=lambda ends: ends[1] - ends[0], default=None)
    if bracket is None or bracket[1] - bracket[0] < 2:
        return [(indent, line)]
    start, end = bracket
    inside = line[start + 1 : end]
    commas = [i + 1 for i, level in enumerate(_levels(inside)) if level == 0 and inside[i].text == ","]
    arguments = [inside[begin:stop] for begin, stop in pairwise([0, *commas, len(inside)])]
    lines = [part for argument in arguments for part in _wrapped(argument, indent + _INDENT)]
    return [(indent, line[: start + 1]), *lines, *_wrapped(line[end:], indent)]


def _is_sign(line: Sequence[Piece], position: int, signs: str) -> bool:
    """Whether a binary one of ``signs`` stands there; what follows a unary minus is not spaced."""
    return line[position].text in signs and line[position].spaced and line[position + 1].spaced


def _levels(line: Sequence[Piece]) -> list[int]:
    """How many brackets of ``line`` are open around each piece; a bracket stands outside itself."""
    levels, level = [], 0
    for piece in line:
        level -= piece.text in CLOSING
        levels.append(level)
        level += piece.text in OPENING
    return levels


def _brackets(line: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """Start and end of the outermost brackets."""
    outer = [i for i, level in enumerate(_levels(line)) if level == 0]
    starts = [i for i in outer if line[i].text in OPENING]
    ends = [i for i in outer if line[i].text in CLOSING]
    # A line that begins in the middle of an expression may close what it did not open.
    return ((start, next(end for end in ends if end > start)) for start in starts)


def _joined(line: Sequence[Piece]) -> str:
    return "".join(f" {piece.text}" if piece.spaced and i else piece.text for i, piece in enumerate(line))
