"""Where the parser stood when it met something it could not use: what the rules of ``mistakes.py`` look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from lark import Token, Tree

from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend.reader import span_at
from gsa_dsl.frontend.words import JOINTS, SETTINGS

END = "$END"
_OPENING = ("LPAR", "LSQB", "LBRACE")
_CLOSING = ("RPAR", "RSQB", "RBRACE")
_OPERATORS = frozenset({"COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "CARET", "DOT"})


@dataclass(frozen=True)
class Failure:
    """``found`` does not fit after ``previous``; ``expected`` would have, given the unfinished constructs ``stack``.

    ``found`` has type ``$END`` at the end of the file. ``stack`` holds tokens and finished trees, outermost first.
    """

    source: Source
    found: Token
    previous: Token | None
    expected: frozenset[str]
    stack: tuple[Token | Tree[Token], ...]

    @property
    def text(self) -> str:
        """What was found, as written."""
        return str(self.found)

    @property
    def word(self) -> str:
        """What was found if it is a word, else nothing."""
        return self.text if self.text.isidentifier() and self.text.isascii() else ""

    @property
    def at_end(self) -> bool:
        return self.found.type == END

    @property
    def start(self) -> int:
        return start_of(self.found)

    @property
    def previous_end(self) -> int:
        return end_of(self.previous) if self.previous is not None else 0

    @property
    def rest(self) -> str:
        """The text from what was found to the end of its line."""
        return self.source.text[self.start :].split("\n", 1)[0]

    @property
    def on_new_line(self) -> bool:
        """Whether a line ends between the previous token and what was found."""
        return self.previous is not None and "\n" in self.source.text[self.previous_end : self.start]

    @cached_property
    def open_brackets(self) -> tuple[Token, ...]:
        """The brackets still open, outermost first."""
        opened: list[Token] = []
        for item in self.stack:
            if isinstance(item, Token) and item.type in _OPENING:
                opened.append(item)
            elif isinstance(item, Token) and item.type in _CLOSING:
                opened.pop()
        return tuple(opened)

    @property
    def innermost(self) -> Token | None:
        return self.open_brackets[-1] if self.open_brackets else None

    @property
    def in_brackets(self) -> bool:
        """Whether a round or square bracket is open."""
        return self.innermost is not None and self.innermost.type != "LBRACE"

    @cached_property
    def block(self) -> Token | None:
        """The brace whose block this is in; None in the attention's header and outside."""
        return next((token for token in reversed(self.open_brackets) if token.type == "LBRACE"), None)

    @cached_property
    def clause(self) -> Token | None:
        """The first word of the unfinished clause (or header); None where a clause would begin."""
        items = self.stack
        if self.block is not None:
            items = items[_position(items, self.block) + 1 :]
        for item in items:
            head = item.children[0] if isinstance(item, Tree) and item.data == "index" else item
            if isinstance(head, Token):
                return head
        return None

    @property
    def wants_operand(self) -> bool:
        return "NUMBER" in self.expected

    @property
    def after_operand(self) -> bool:
        """Whether an expression (or a part of one) has just ended here."""
        ended = self.clause is not None and bool(self.stack) and isinstance(self.stack[-1], Tree)
        return not self.wants_operand and (ended or bool(self.expected & _OPERATORS))

    @property
    def begins_operand(self) -> bool:
        """Whether what was found could begin an expression."""
        return bool(self.word) or self.text[:1].isdigit() or self.text == "("

    @property
    def wants_clause(self) -> bool:
        return "_CAUSAL" in self.expected

    @property
    def wants_setting(self) -> bool:
        return SETTINGS["score"] in self.expected

    @property
    def wants_joint(self) -> tuple[str, ...]:
        """The joining words (``per``, ``top``, ...) that would have fitted, clause keywords aside."""
        if self.wants_clause:
            return ()
        return tuple(word for word, terminal in JOINTS.items() if terminal in self.expected)

    @property
    def may_go_on(self) -> dict[str, str]:
        """The joining words, and their terminals, that the clause may go on with where it may as well end."""
        words = {word: JOINTS[word] for word in ("starts", "by", "per")} if self.wants_clause else {}
        return {word: terminal for word, terminal in words.items() if terminal in self.expected}

    def top(self, *types: str) -> bool:
        """Whether the stack ends with tokens of these types."""
        tail = self.stack[len(self.stack) - len(types) :]
        return len(tail) == len(types) and all(
            isinstance(item, Token) and item.type == type_ for item, type_ in zip(tail, types, strict=True)
        )

    def span(self, token: Token | None = None) -> Span:
        """The span of ``token``, by default of what was found; at the end of the file, of the last sign in it."""
        if token is None and self.at_end:
            end = len(self.source.text.rstrip())
            return span_at(self.source.text, end, end)
        token = self.found if token is None else token
        return span_at(self.source.text, start_of(token), end_of(token))

    def gap(self) -> Span:
        """Where something is missing: before what was found, or after the line that stopped short."""
        if self.at_end or not self.on_new_line:
            return self.span()
        return span_at(self.source.text, self.previous_end, self.previous_end)


def start_of(token: Token) -> int:
    """The offset of the token's first character."""
    assert token.start_pos is not None
    return token.start_pos


def end_of(item: Token | Tree[Token]) -> int:
    """The offset after the last character of a token or tree, the tree's brackets included."""
    end = item.end_pos if isinstance(item, Token) else getattr(item.meta, "container_end_pos", item.meta.end_pos)
    assert isinstance(end, int)
    return end


def _position(items: tuple[Token | Tree[Token], ...], token: Token) -> int:
    return next(position for position, item in enumerate(items) if item is token)
