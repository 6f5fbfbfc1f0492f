"""Panic-mode recovery: after a mistake, the next place where parsing can go on, and the parser brought there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

from lark import Token, Tree
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser
from lark.parsers.lalr_parser_state import ParserState

from gsa_dsl.diagnostics.suggest import closest
from gsa_dsl.frontend.failure import END, Failure, end_of
from gsa_dsl.frontend.reader import without_comments
from gsa_dsl.frontend.words import CLAUSES, SETTINGS

_STARTS = {**CLAUSES, **SETTINGS}
_ALSO_NAMES = frozenset({"scale", "budget", *SETTINGS})
_ANCHOR = re.compile(r"^[ \t]*(?P<word>[A-Za-z_]\w*)|(?P<brace>[{}])", re.MULTILINE | re.ASCII)
_AFTER_NAME = re.compile(r"[ \t]*(?:[-+*/^,)\]<>]|==|\.(?![0-9]))")
_CLAUSE_GOES_ON = re.compile(r"[ \t]+[A-Za-z0-9{(]|\[")
_ENDS_BLOCK = re.compile(rf"\s*(?:\}}|\Z|(?:{'|'.join(_STARTS)})\b)|[ \t\r]*\n", re.ASCII)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place to go on from. The parser must accept ``terminal`` there: a clause's, a setting's or a closing brace."""

    terminal: str
    offset: int


class Recovery:
    """Brings an interactive parser of ``text`` from a mistake to the next anchor."""

    def __init__(self, text: str) -> None:
        self._text = without_comments(text)
        # With a brace too few, a clause may have to leave the block it seems to be in; else blocks end at their brace.
        self._may_leave_block = self._text.count("{") > self._text.count("}")
        # Every anchor lies after the last one used, so recovery comes to an end.
        self._resumed = -1

    def swallowed(self, parser: InteractiveParser, failure: Failure) -> Token | None:
        """A clause keyword that began a line before ``failure`` and was read as a name, when a clause stopped short."""
        if failure.clause is None or failure.block is None or failure.clause.type == "_INDEXER":
            return None
        for anchor in self._words(end_of(failure.clause), failure.start):
            size = _reach(parser, anchor.terminal, self._may_leave_block)
            if size is not None and anchor.offset > self._resumed:
                word = re.compile(r"\w+").match(self._text, anchor.offset)
                assert word is not None
                return token_at(self._text, "NAME", *word.span())
        return None

    def resume(self, parser: InteractiveParser, failure: Failure) -> bool:
        """Skip to the next anchor at or after ``failure`` that fits; False if there is none."""
        if failure.block is None:
            return self._enter_block(parser, failure)
        for anchor in self._anchors(failure.start):
            size = _reach(parser, anchor.terminal, self._may_leave_block)
            if size is not None and anchor.offset > self._resumed:
                self._resumed = anchor.offset
                shrink(parser, size)
                seek(parser, self._text, anchor.offset)
                return True
        return False

    def _enter_block(self, parser: InteractiveParser, failure: Failure) -> bool:
        """From a broken header to the attention's block."""
        size = _reach(parser, "LBRACE", leave_block=False)
        brace = self._text.find("{", failure.start)
        clause = next((anchor.offset for anchor in self._words(failure.start, len(self._text))), None)
        if size is None or (brace < 0 and clause is None):
            return False
        shrink(parser, size)
        if brace >= 0 and (clause is None or brace < clause):
            seek(parser, self._text, brace)
        elif clause is not None:
            parser.feed_token(token_at(self._text, "LBRACE", clause, clause).update(value="{"))
            seek(parser, self._text, clause)
        return True

    def _anchors(self, start: int) -> Iterator[Anchor]:
        """Clause-like line starts and block ends from ``start`` on; a block opened on the way is passed as a whole."""
        position = start
        while True:
            begin = self._text.rfind("\n", 0, position) + 1
            match = _ANCHOR.search(self._text, begin if not self._text[begin:position].strip() else position)
            if match is None:
                return
            if match["brace"] == "{":
                position = self._after_block(match.start())
                continue
            if match["brace"] == "}":
                if _ENDS_BLOCK.match(self._text, match.end()):
                    yield Anchor("RBRACE", match.start())
            else:
                yield from self._clause_like(match)
            position = match.end()

    def _words(self, start: int, end: int) -> Iterator[Anchor]:
        for match in _ANCHOR.finditer(self._text, start, end):
            if match["word"]:
                yield from self._clause_like(match)

    def _clause_like(self, match: re.Match[str]) -> Iterator[Anchor]:
        """The anchor, if any, that this line's first word is: a keyword, or one misspelt, and no operand."""
        word, start, end = match["word"], match.start("word"), match.end()
        if (word in _ALSO_NAMES or word not in _STARTS) and _AFTER_NAME.match(self._text, end):
            return
        near = closest(word, _STARTS) if word not in _STARTS and _CLAUSE_GOES_ON.match(self._text, end) else word
        if near in _STARTS:
            yield Anchor("_CAUSAL" if near in CLAUSES else "SCORE", start)

    def _after_block(self, brace: int) -> int:
        """The offset after the block opened at ``brace``; just after the brace if it looks stray."""
        depth = 0
        for match in re.finditer(r"[{}]", self._text[brace:]):
            depth += 1 if match[0] == "{" else -1
            if depth == 0:
                end = brace + match.end()
                return end if "}" in self._text[end:] else brace + 1
        return brace + 1


def seek(parser: InteractiveParser, text: str, offset: int) -> None:
    """Let the parser's lexer read on from ``offset``."""
    state = parser.lexer_thread.state
    assert state is not None
    counter = state.line_ctr
    counter.char_pos = offset
    counter.line = text.count("\n", 0, offset) + 1
    counter.line_start_pos = text.rfind("\n", 0, offset) + 1
    counter.column = offset - counter.line_start_pos + 1


def shrink(parser: InteractiveParser, size: int) -> None:
    """Drop what the parser holds above its first ``size`` values."""
    state = parser.parser_state
    del state.value_stack[size:]
    del state.state_stack[size + 1 :]


def accepted(parser: InteractiveParser) -> frozenset[str]:
    """The terminals that the parser could take next, each tried out: the parse table alone promises too many."""
    state = parser.parser_state
    terminals = (symbol for symbol in state.parse_conf.states[state.position] if symbol.isupper())
    return frozenset(terminal for terminal in terminals if _accepts(state, len(state.value_stack), terminal))


def _reach(parser: InteractiveParser, terminal: str, leave_block: bool) -> int | None:
    """How many values the parser must keep, at most, to accept ``terminal``; None if no number will do."""
    state = parser.parser_state
    whole = len(state.value_stack)
    for size in range(whole, -1, -1):
        top = state.value_stack[size - 1] if size else None
        # A block goes on after its brace or its list of clauses; only a header needs a look at every state.
        between_clauses = _is_brace(top) or (isinstance(top, Tree) and top.data.startswith("__"))
        candidate = size == whole or between_clauses or terminal == "LBRACE"
        if (
            candidate
            and terminal in state.parse_conf.states[state.state_stack[size]]
            and _accepts(state, size, terminal)
        ):
            return size
        if _is_brace(top) and not leave_block:
            return None
    return None


def _is_brace(item: object) -> bool:
    return isinstance(item, Token) and item.type == "LBRACE"


def _accepts(state: ParserState[int], size: int, terminal: str) -> bool:
    """Whether ``state``, cut down to ``size`` values, takes ``terminal``."""
    trial = state.copy(deepcopy_values=False)
    trial.parse_conf = copy(state.parse_conf)
    trial.parse_conf.callbacks = {}
    del trial.value_stack[size:]
    del trial.state_stack[size + 1 :]
    try:
        trial.feed_token(Token(terminal, ""), is_end=terminal == END)
    except UnexpectedToken:
        return False
    return True


def token_at(text: str, terminal: str, start: int, end: int) -> Token:
    """``text[start:end]`` as a token of type ``terminal``."""
    line = text.count("\n", 0, start) + 1
    column = start - text.rfind("\n", 0, start)
    return Token(terminal, text[start:end], start, line, column, line, column + end - start, end)
