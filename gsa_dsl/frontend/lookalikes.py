"""Spellings from other languages (and from word processors), each with what a spec writes instead."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lookalike:
    """What ``pattern`` matches is no part of the language; ``message`` may use its text as ``{0}``."""

    pattern: re.Pattern[str]
    code: str
    message: str
    reason: str
    fix: str


def find(text: str, offset: int) -> tuple[Lookalike, int] | None:
    """The lookalike that stands in ``text`` at ``offset`` and the offset after it."""
    for lookalike in _TABLE:
        match = lookalike.pattern.match(text, offset)
        if match is not None:
            return lookalike, match.end()
    return None


def _number(pattern: str, fix: str) -> Lookalike:
    reason = "a number is digits, with a point only between digits: 64, 0.5, 1e-6"
    return Lookalike(re.compile(pattern), "GSA008", "'{0}' is not a number", reason, fix)


def _operator(pattern: str, reason: str, fix: str) -> Lookalike:
    return Lookalike(re.compile(pattern), "GSA010", "'{0}' is not an operator of the language", reason, fix)


def _sign(pattern: str, fix: str, reason: str = "") -> Lookalike:
    return Lookalike(re.compile(pattern), "GSA009", "'{0}' has no meaning in a spec", reason, fix)


_TABLE = (
    _number(r"[0-9]+[kK]\b", "write it out: '2k' is 2000 or 2048"),
    _number(r"[0-9]+(?:_[0-9]+)+\b", "leave out the underscores"),
    _number(r"0[xXbBoO][0-9A-Fa-f]+\b", "write it in decimal"),
    _number(r"[0-9]+(?:\.[0-9]+){2,}\b", "write it with one point"),
    _number(r"[0-9][0-9.]*\.(?![0-9])", "write a digit after the point: '1.0'"),
    _number(r"\.[0-9]+", "write a digit before the point: '0.5'"),
    _number(r"[0-9][A-Za-z0-9_.]*", "put an operator or a space between a number and a name"),
    _operator(r"\*\*", "a power is written with a caret", "write '^' instead of '**'"),
    _operator(r"//", "comments begin with '#'; a quotient has one slash", "write '#' for a comment or '/' to divide"),
    _operator(r"/\*", "comments begin with '#' and end with the line", "write '#'"),
    _operator(r":=", "a definition has a plain equals sign", "write '=' instead of ':='"),
    _operator(r"!=", "the comparisons are < <= > >= ==", "turn the condition round: where(a == b, y, x)"),
    _operator(r"&&?|\|\|?|!|~", "conditions cannot be combined", "nest two calls of where(condition, a, b)"),
    _operator(r"%", "there is no remainder", "remove it"),
    _operator(r"@|[·⋅∙]", "a dot product is a point between two vectors", "write 'q[t, j] . k[s]'"),
    _operator("[\u00d7\u2217]", "a product is an asterisk", "write '*'"),
    _operator("÷", "a quotient is a slash", "write '/'"),
    _operator("[\u2212\u2013\u2014]", "a minus is the ASCII hyphen", "write '-'"),
    _operator("≤", "comparisons are ASCII", "write '<='"),
    _operator("≥", "comparisons are ASCII", "write '>='"),
    _operator("→|->|=>", "there are no arrows", "write '=' to define"),
    _sign(";", "remove it", "a clause ends where the next begins"),
    _sign(":", "remove it, or write '=' where something is defined", "nothing is followed by a colon"),
    _sign("[\"'`]|[\u2018-\u201f]", "remove the quotes", "there are no strings; names stand bare"),
    _sign(r"\\", "remove it: an expression may go on over line ends as it is"),
    _sign("\u00a0|\u3000|[\u2000-\u200a]", "put an ordinary space", "this blank is not an ASCII space"),
    _sign("∑", "write 'sum(j)'"),
    _sign("\u03c3", "write 'sigmoid(...)'"),
    _sign("√", "write 'sqrt(...)'"),
    _sign("∞", "write 'inf'"),
    _sign("[²³]", "write '^ 2' or '^ 3'"),
    _sign(r"\$|\?", "remove it"),
    _sign(r"[^\W\d_]+", "spell it with letters a to z", "names are made of a to z, A to Z, 0 to 9 and _"),
    _sign(r"[^\x00-\x7f]", "remove it", "outside comments a spec is ASCII"),
)
