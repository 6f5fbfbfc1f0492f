"""Words for what was found and what could have stood there, without a parser's names for them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gsa_dsl.frontend.failure import Failure
from gsa_dsl.frontend.words import KEYWORDS

_MAX_SHOWN = 30

_PUNCTUATION = {
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "LBRACE": "{",
    "RBRACE": "}",
    "COMMA": ",",
    "EQUAL": "=",
    "_AT_MOST": "<=",
}
_SLOTS = {
    "_GATE": "'query', 'key', 'value' or 'output'",
    "PER": "'element', 'head' or 'shared'",
    "BY": "'max', 'mean' or 'sum'",
    "_STARTS": "'identity'",
    "KEYS": "'shared' or 'attention'",
    "POOL": "'mean' or 'max'",
    "_ALWAYS": "'first', 'last' or 'diagonal'",
    "_WITH": "'kl'",
    "_BOUND": "'flops', 'memory', 'bytes' or 'selected'",
}
_LAST_SLOT = "'tokens' or 'blocks'"
# What follows 'per', where it is not the granularity of a gate, by the clause's first word.
_PER_SLOTS = {"_SELECT": "'kv_head' or 'queries'", "KEYS": "'kv_head'"}


def listed(items: Sequence[str], joiner: str) -> str:
    """``a, b or c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {joiner} {items[-1]}"


def quoted(text: object) -> str:
    return f"'{text}'"


def described(failure: Failure) -> str:
    """What was found: ``'x'``, shortened if long, or the end of the file."""
    if failure.at_end:
        return "the end of the file"
    text = failure.text
    return quoted(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")


def expectation(failure: Failure) -> str:
    """What could have stood there, most telling first."""
    expected = failure.expected
    if failure.wants_operand:
        return "an expression"
    if failure.wants_clause:
        return "a clause or '}'"
    if failure.wants_setting:
        return "a line of the indexer or '}'"
    phrases = [quoted(word) for word, terminal in KEYWORDS.items() if terminal in expected]
    if "WORD" in expected:
        phrases.append(_slot(failure))
    if "NAME" in expected:
        phrases.append("a name")
    if "INDEX" in expected and "NAME" not in expected:
        phrases.append("an index variable")
    phrases += [quoted(sign) for terminal, sign in _PUNCTUATION.items() if terminal in expected]
    return listed(list(dict.fromkeys(phrases)), "or") if phrases else "an operator"


def slot_words(failure: Failure) -> tuple[str, ...]:
    """The words that the clause's open place takes, where it takes one of a vocabulary."""
    return tuple(re.findall(r"'(\w+)'", _slot(failure)))


def all_slot_words() -> frozenset[str]:
    """Every word that some clause's open place takes."""
    return frozenset(re.findall(r"'(\w+)'", " ".join((*_SLOTS.values(), *_PER_SLOTS.values(), _LAST_SLOT))))


def _slot(failure: Failure) -> str:
    """The words of the vocabulary that the clause's open place takes."""
    clause = failure.clause.type if failure.clause is not None else ""
    if failure.top("PER") and clause in _PER_SLOTS:
        return _PER_SLOTS[clause]
    for terminal, words in _SLOTS.items():
        if failure.top(terminal):
            return words
    if clause == "_ALWAYS":
        return _SLOTS["_ALWAYS"]
    return _LAST_SLOT
