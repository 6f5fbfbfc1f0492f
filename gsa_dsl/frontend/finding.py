"""The shape of a syntax rule's answer, and what the rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lark import Token

from gsa_dsl.diagnostics.errors import Diagnostic, Label
from gsa_dsl.diagnostics.span import Span
from gsa_dsl.frontend.failure import Failure, end_of
from gsa_dsl.frontend.recovery import token_at
from gsa_dsl.frontend.words import FORMS, KEYWORDS


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis; where the intent is plain, the tokens to parse instead and the offset to read on from."""

    diagnostic: Diagnostic
    repair: tuple[Token, ...] = ()
    resume_at: int | None = None


Rule = Callable[[Failure], Finding | None]


def finding(
    code: str, message: str, span: Span, reason: str = "", fix: str = "", labels: Sequence[Label] = ()
) -> Finding:
    """A diagnosis without a repair."""
    return Finding(Diagnostic(code, message, span, reason, fix, tuple(labels)))


def respelt(failure: Failure, word: str, diagnostic: Diagnostic, terminal: str | None = None) -> Finding:
    """A diagnosis after which what was found is read as ``word``: the keyword, or a word of ``terminal``."""
    end = end_of(failure.found)
    token = token_at(failure.source.text, terminal or KEYWORDS[word], failure.start, end).update(value=word)
    return Finding(diagnostic, (token,), end)


def example(failure: Failure) -> str:
    """How the clause at hand is written, as a fix."""
    clause = str(failure.clause) if failure.clause is not None else ""
    return f"as in '{FORMS[clause]}'" if clause in FORMS else ""


def still_open(failure: Failure, bracket: Token) -> Label:
    """A label at a bracket that waits to be closed."""
    return Label(failure.span(bracket), f"this '{bracket}' is open")
