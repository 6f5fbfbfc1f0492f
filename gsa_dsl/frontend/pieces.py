"""A spec as the formatter sees it: every token as it was written, with the comments and blank lines around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise

from lark import Token

from gsa_dsl.frontend import ast
from gsa_dsl.frontend.failure import end_of, start_of

OPENING, CLOSING = ("(", "["), (")", "]")
# Words before an expression: a bracket that follows groups, it does not hold arguments.
_APART = frozenset({"scale", "heads", "dim", "top", "first", "last", "in", "require"})
_TIGHT_AFTER = frozenset({"(", "[", "^"})
_TIGHT_BEFORE = frozenset({")", "]", ",", "^"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A token; ``spaced``: a space stands before it on a line.

    ``above`` holds the lines between it and the line of the token before it: comments, and one empty string for any
    number of blank lines. ``beside`` is the comment that ends its line, if any. The last piece is empty: it stands for
    the end of the file.
    """

    start: int
    text: str
    spaced: bool
    above: tuple[str, ...] = ()
    beside: str = ""


def pieces(tree: ast.Spec, tokens: tuple[Token, ...]) -> tuple[Piece, ...]:
    """The pieces of the spec ``tree`` that was read from ``tokens``; what has no meaning is left out."""
    text = tree.source.text
    end = Token("END", "", start_pos=len(text), end_pos=len(text))
    every = (*tokens, end)
    edges = [0, *(end_of(token) for token in tokens)]
    gaps = [_Gap.of(text[edge : start_of(token)]) for edge, token in zip(edges, every, strict=True)]
    # What stands before the first token is above it, wherever the line begins.
    first = _Gap.of("\n" + text[: start_of(every[0])])
    beside = [*(gap.beside for gap in gaps[1:]), ""]
    above = [first.above, *(gap.above for gap in gaps[1:])]
    spaced = _spacing(every, set(_unary_starts(tree)))
    made = [
        Piece(start_of(token), str(token), space, lines, comment)
        for token, space, lines, comment in zip(every, spaced, above, beside, strict=True)
    ]
    return tuple(_without(_ordered(made, tree), _needless(every)))


def _ordered(made: list[Piece], tree: ast.Spec) -> list[Piece]:
    """The pieces with the options of every ``select`` in the order of the tree; comments go with what they are at.

    The comment that ends the clause's line stays at its end.
    """
    ordered = made
    for clause in tree.clauses:
        if not isinstance(clause, ast.Select) or len(clause.options) < 2:
            continue
        spans = [option.span for option in clause.options]
        options = [[piece for piece in made if span.start <= piece.start < span.end] for span in spans]
        first, last = min(span.start for span in spans), max(span.end for span in spans)
        before = [piece for piece in ordered if piece.start < first]
        after = [piece for piece in ordered if piece.start >= last]
        ordered = [*before, *_ending_alike([piece for option in options for piece in option], made, last), *after]
    return ordered


def _ending_alike(run: list[Piece], made: list[Piece], end: int) -> list[Piece]:
    """``run`` with the comment beside the piece that was written last beside its own last piece."""
    written = max((piece for piece in made if piece.start < end), key=lambda piece: piece.start)
    if not written.beside or run[-1] is written or run[-1].beside:
        return run
    moved = [replace(piece, beside="") if piece is written else piece for piece in run]
    return [*moved[:-1], replace(moved[-1], beside=written.beside)]


def comments(found: Iterable[Piece]) -> tuple[str, ...]:
    """Every comment, in the order of the text."""
    return tuple(line for piece in found for line in (*piece.above, piece.beside) if line)


@dataclass(frozen=True, slots=True)
class _Gap:
    """What stands between two tokens: the comment beside the first, and the lines above the second."""

    beside: str
    above: tuple[str, ...]

    @staticmethod
    def of(text: str) -> _Gap:
        beside, *lines = [line.strip() for line in text.split("\n")]
        # The last line is what the second token is indented by.
        kept = [line for before, line in pairwise((None, *lines[:-1])) if line or before != ""]
        return _Gap(beside, tuple(line for line in kept if line is not None))


def _spacing(tokens: tuple[Token, ...], unary: set[int]) -> Iterator[bool]:
    yield False
    for before, token in pairwise(tokens):
        if before in _TIGHT_AFTER or token in _TIGHT_BEFORE or start_of(before) in unary:
            yield False
        elif token in OPENING:
            is_word = before[:1].isalpha() or before[:1] == "_"
            yield not is_word or (before.type != "NAME" and before in _APART)
        else:
            yield True


def _unary_starts(node: ast.Node) -> Iterator[int]:
    if isinstance(node, ast.Unary):
        yield node.span.start
    for child in children(node):
        yield from _unary_starts(child)


def children(node: ast.Node) -> Iterator[ast.Node]:
    """The nodes that ``node`` is made of, field by field."""
    for field in fields(node):
        value = getattr(node, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, ast.Node):
                yield child


def _needless(tokens: tuple[Token, ...]) -> set[int]:
    """The offsets of tokens that change nothing: a comma before a closing bracket, an empty list of parameters."""
    commas = {start_of(token) for token, after in pairwise(tokens) if token == "," and after in CLOSING}
    empty = tokens[2:4] if [str(token) for token in tokens[2:4]] == ["(", ")"] else ()
    return commas | {start_of(token) for token in empty}


def _without(every: list[Piece], needless: set[int]) -> list[Piece]:
    """The pieces that are not ``needless``; their comments go to a neighbour."""
    kept: list[Piece] = []
    lines: tuple[str, ...] = ()
    for piece in every:
        if piece.start not in needless:
            kept.append(replace(piece, above=(*lines, *piece.above)))
            lines = ()
        elif kept and not lines and not any(piece.above) and not kept[-1].beside:
            kept[-1] = replace(kept[-1], beside=piece.beside)
        else:
            lines = (*lines, *piece.above, *([piece.beside] if piece.beside else []))
    return kept
