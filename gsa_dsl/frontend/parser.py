"""Text to syntax tree: ``parse`` returns the tree, or raises with every syntax mistake it found."""

from __future__ import annotations

import math
import re
from functools import cache
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from gsa_dsl.diagnostics.errors import MOST, Diagnostic, SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.build import build, token_span
from gsa_dsl.frontend.failure import END, Failure, end_of, start_of
from gsa_dsl.frontend.mistakes import explain
from gsa_dsl.frontend.reader import MAX_DEPTH, check_text, nested_too_deeply, span_at
from gsa_dsl.frontend.recovery import Recovery, accepted, seek, shrink, token_at

_MAX_NUMBER = 40


def parse(source: Source) -> ast.Spec:
    """The syntax tree of ``source``; raises SpecError with all its syntax mistakes, at most one a clause."""
    return parse_with_tokens(source)[0]


def parse_with_tokens(source: Source) -> tuple[ast.Spec, tuple[Token, ...]]:
    """The syntax tree and every token it was read from, punctuation included; raises as :func:`parse`."""
    check_text(source)
    session = _Session(source)
    tree = session.run()
    if session.diagnostics:
        meant = build(source, tree) if tree is not None and session.whole else None
        raise SpecError(source, tuple(session.diagnostics), meant)
    assert tree is not None
    return build(source, tree), tuple(session.tokens)


def unfinished(source: Source) -> Failure | None:
    """Where the parser stands at the end of a text that stops short, mistakes on the way passed over.

    None where nothing is missing, or where no sense can be made of what was written. Raises SpecError for a text that
    is refused as a whole.
    """
    check_text(source)
    session = _Session(source)
    session.run()
    return session.end


@cache
def _lark() -> Lark:
    grammar = resources.files("gsa_dsl.frontend").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        propagate_positions=True,
        maybe_placeholders=False,
        g_regex_flags=re.ASCII,
    )


class _Session:
    """One parse: feeds the parser token by token and brings it past every mistake."""

    def __init__(self, source: Source) -> None:
        self.diagnostics: list[Diagnostic] = []
        # Whether every mistake so far was put right, and nothing passed over.
        self.whole = True
        self._source = source
        self._parser: InteractiveParser = _lark().parse_interactive(source.text)
        self._recovery = Recovery(source.text)
        self.tokens: list[Token] = []
        self.end: Failure | None = None
        self._reported: int | None = None

    def run(self) -> Tree[Token] | None:
        """The whole tree; None if the parse had to be given up."""
        while len(self.diagnostics) < MOST:
            try:
                tree = self._feed_all()
            except UnexpectedInput as error:
                if not self._recover(self._failure(error)):
                    return None
            else:
                self._check_numbers()
                self._check_depth(tree)
                return tree
        return None

    def _feed_all(self) -> Tree[Token]:
        parser = self._parser
        for token in parser.iter_parse():
            self.tokens.append(token)
        end = len(self._source.text)
        tree: Tree[Token] = parser.feed_token(token_at(self._source.text, END, end, end))
        return tree

    def _failure(self, error: UnexpectedInput) -> Failure:
        text = self._source.text
        if isinstance(error, UnexpectedToken):
            found = error.token
        else:
            assert isinstance(error, UnexpectedCharacters)
            assert error.pos_in_stream is not None
            found = token_at(text, "STRAY", error.pos_in_stream, error.pos_in_stream + 1)
        failure = self._at(found)
        swallowed = self._recovery.swallowed(self._parser, failure)
        if swallowed is None or failure.clause is None:
            return failure
        self._feed_again(start_of(failure.clause), start_of(swallowed))
        return self._at(swallowed)

    def _feed_again(self, start: int, end: int) -> None:
        """Bring the parser to where it stood at ``end``, in the clause that begins at ``start``."""
        values = self._parser.parser_state.value_stack
        shrink(self._parser, sum(end_of(value) <= start for value in values))
        for token in self.tokens:
            if start <= start_of(token) < end:
                self._parser.feed_token(token)

    def _at(self, found: Token) -> Failure:
        while self.tokens and end_of(self.tokens[-1]) > start_of(found):
            self.tokens.pop()
        previous = self.tokens[-1] if self.tokens else None
        stack = tuple(self._parser.parser_state.value_stack)
        return Failure(self._source, found, previous, accepted(self._parser), stack)

    def _recover(self, failure: Failure) -> bool:
        """Report the mistake unless its clause already has one, and go to where parsing can go on."""
        finding = explain(failure)
        begins_clause = failure.clause is None or finding.diagnostic.code in ("GSA002", "GSA015")
        clause = failure.start if begins_clause or failure.clause is None else start_of(failure.clause)
        if clause != self._reported or failure.at_end:
            self.diagnostics.append(finding.diagnostic)
        self._reported = clause
        if failure.at_end:
            self.end = failure
        if failure.at_end or END in failure.expected:
            return False
        if finding.resume_at is None:
            self.whole = False
            return self._recovery.resume(self._parser, failure)
        for token in finding.repair:
            self._parser.feed_token(token)
            # Nobody is told that something stands after a token that was put in.
            if end_of(token) > start_of(token):
                self.tokens.append(token)
        seek(self._parser, self._source.text, finding.resume_at)
        return True

    def _check_numbers(self) -> None:
        for token in self.tokens:
            if token.type == "NUMBER" and (len(token) > _MAX_NUMBER or math.isinf(float(token))):
                reason = f"numbers are float64 and at most {_MAX_NUMBER} characters long"
                shown = token if len(token) <= _MAX_NUMBER else f"{token[:10]}..."
                message = f"the number '{shown}' is out of range"
                fix = "write a smaller number"
                self.whole = False
                self.diagnostics.append(Diagnostic("GSA008", message, token_span(token), reason, fix))

    def _check_depth(self, tree: Tree[Token]) -> None:
        """Chains such as ``- - - x`` or ``a ^ b ^ c`` nest without brackets."""
        level, depth = [tree], 0
        while level:
            depth += 1
            deeper = [child for node in level for child in node.children if isinstance(child, Tree)]
            if depth > MAX_DEPTH:
                self.whole = False
                start = level[0].meta.start_pos
                span = span_at(self._source.text, start, level[0].meta.end_pos)
                self.diagnostics.append(nested_too_deeply(span, "this expression is"))
                return
            level = deeper
