"""Mistakes in the frame of a spec: the file as a whole, its blocks, and the words that make up a clause."""

from __future__ import annotations

import re

from gsa_dsl.diagnostics.errors import Diagnostic, Label
from gsa_dsl.diagnostics.suggest import closest
from gsa_dsl.frontend.failure import Failure
from gsa_dsl.frontend.finding import Finding, example, finding, respelt, still_open
from gsa_dsl.frontend.phrases import described, expectation, listed, quoted, slot_words
from gsa_dsl.frontend.recovery import token_at
from gsa_dsl.frontend.words import BRACKETS, CLAUSES, FORMS, INDEX_VARIABLES, ITEMS, SETTINGS

# A word that begins a clause, not an operand: `gait output`, `budgt[t]`.
_CLAUSE = re.compile(r"\w+(?:\[|[ \t]*\{|[ \t]+\w|\s*$)")

# --- the file as a whole ---------------------------------------------------------------------------------------------


def no_attention(failure: Failure) -> Finding | None:
    if "_ATTENTION" not in failure.expected:
        return None
    form = f"write '{FORMS['attention']}'"
    if failure.at_end:
        return finding("GSA016", "this file declares no attention", failure.span(), fix=form)
    near = closest(failure.word, ["attention"])
    message = f"expected 'attention', found {described(failure)}"
    fix = "did you mean 'attention'?" if near is not None else form
    diagnostic = Diagnostic("GSA016", message, failure.span(), "a spec declares one attention", fix)
    if near is not None:
        return respelt(failure, near, diagnostic)
    if failure.word:
        insert = token_at(failure.source.text, "_ATTENTION", failure.start, failure.start).update(value="attention")
        return Finding(diagnostic, (insert,), failure.start)
    return Finding(diagnostic)


def no_attention_name(failure: Failure) -> Finding | None:
    if not failure.top("_ATTENTION") or failure.at_end or failure.text in INDEX_VARIABLES:
        return None
    message = f"expected the attention's name, found {described(failure)}"
    diagnostic = Diagnostic("GSA016", message, failure.span(), fix=f"write '{FORMS['attention']}'")
    insert = token_at(failure.source.text, "NAME", failure.start, failure.start).update(value="name")
    return Finding(diagnostic, (insert,), failure.start) if failure.text in ("(", "{") else Finding(diagnostic)


def after_attention(failure: Failure) -> Finding | None:
    if "$END" not in failure.expected:
        return None
    closing = [] if failure.previous is None else [Label(failure.span(failure.previous), "the attention ends here")]
    if failure.word == "attention":
        reason, fix = "a file declares one attention", "move the second to a file of its own"
        return finding("GSA016", "a second attention in one file", failure.span(), reason, fix, closing)
    if failure.text == "}":
        return finding("GSA004", "'}' closes nothing", failure.span(), fix="remove this '}'", labels=closing)
    message = f"nothing may follow the attention's closing brace, found {described(failure)}"
    return finding("GSA016", message, failure.span(), fix="move it before that '}'", labels=closing)


def end_of_file(failure: Failure) -> Finding | None:
    if not failure.at_end:
        return None
    brackets = failure.open_brackets
    if not brackets:
        message = f"the file ends where {expectation(failure)} should stand"
        return finding("GSA005", message, failure.span(), fix=f"write '{FORMS['attention']}'")
    missing = "".join(BRACKETS[bracket] for bracket in reversed(brackets))
    what = f"{quoted(brackets[0])} is" if len(brackets) == 1 else f"{len(brackets)} brackets are"
    message = f"the file ends before {what} closed"
    labels = [Label(failure.span(bracket), "opened here") for bracket in brackets]
    return finding("GSA003", message, failure.span(), fix=f"add '{missing}'", labels=labels)


# --- words -----------------------------------------------------------------------------------------------------------


def clause_word(failure: Failure) -> Finding | None:
    """A word where a clause or a setting of the indexer begins."""
    known = CLAUSES if failure.wants_clause else SETTINGS if failure.wants_setting else {}
    if not failure.word or not known or failure.in_brackets:
        return None
    known = {**known, **failure.may_go_on}
    if failure.word in CLAUSES or failure.word in SETTINGS or failure.word == "attention":
        return _wrong_block(failure)
    if failure.clause is not None and failure.clause.type == "_ALWAYS" and failure.word in ("first", "last"):
        return finding("GSA007", f"missing ',' before '{failure.word}'", failure.gap(), fix=example(failure))
    if failure.after_operand and not failure.on_new_line and not _CLAUSE.match(failure.rest):
        return None
    message = f"unknown {'clause' if failure.wants_clause else 'line of an indexer'} '{failure.word}'"
    near = closest(failure.word, known)
    if near is None and failure.after_operand and not failure.on_new_line:
        return None
    if near is None:
        fix = f"begin with {listed(list(known), 'or')}"
        return finding("GSA002", message, failure.span(), fix=fix)
    diagnostic = Diagnostic("GSA002", message, failure.span(), fix=f"did you mean '{near}'?")
    return respelt(failure, near, diagnostic)


def _wrong_block(failure: Failure) -> Finding:
    """A known word in a block that does not take it."""
    word = failure.word
    labels = [] if failure.block is None else [still_open(failure, failure.block)]
    if word == "attention":
        message, fix = "an attention cannot stand in another", "close the first with '}'"
        return finding("GSA015", message, failure.span(), fix=fix, labels=labels)
    if word in SETTINGS:
        fix = f"write 'indexer {{ {FORMS[word]} ... }}'"
        return finding("GSA015", f"'{word}' belongs in the indexer", failure.span(), fix=fix)
    message = f"'{word}' cannot stand in the indexer"
    fix = f"close the indexer with '}}' before '{word}'"
    return finding("GSA015", message, failure.span(), fix=fix, labels=labels)


def removal(failure: Failure) -> Finding | None:
    """What follows ``without``: the first word or words of a clause."""
    if not failure.top("_WITHOUT"):
        return None
    removable = [word for word, terminal in CLAUSES.items() if terminal in failure.expected]
    near = closest(failure.word, removable) if failure.word and not failure.on_new_line else None
    fix = f"did you mean '{near}'?" if near is not None else example(failure)
    message = f"expected the clause to remove, found {described(failure)}"
    return finding("GSA014", message, failure.gap(), "'without gate value' names it by its first words", fix)


def joint(failure: Failure) -> Finding | None:
    """A word that joins the parts of a clause (``per``, ``top``, ``with``, ``in``): misspelt or left out."""
    joints = failure.wants_joint
    if not joints:
        return None
    if failure.previous is not None and str(failure.previous) in joints:
        message = f"a word is missing before '{failure.previous}'"
        return finding("GSA014", message, failure.span(failure.previous), fix=example(failure))
    near = closest(failure.word, joints) if failure.word else None
    if near is not None:
        message = f"expected '{near}', found '{failure.word}'"
        diagnostic = Diagnostic("GSA014", message, failure.span(), fix=f"did you mean '{near}'?")
        return respelt(failure, near, diagnostic)
    if f" {joints[0]} " in failure.rest or failure.in_brackets:
        return None
    message = f"expected {expectation(failure)}, found {described(failure)}"
    return finding("GSA014", message, failure.gap(), fix=example(failure))


def bare_size(failure: Failure) -> Finding | None:
    """A number without brackets after what takes a size: ``blocks 64``, ``per queries 8``."""
    word = failure.previous
    if word is None or word.type != "WORD" or "LPAR" not in failure.expected or not failure.text[:1].isdigit():
        return None
    message = f"the size of '{word}' stands in brackets"
    return finding("GSA014", message, failure.span(), fix=f"write '{word}({failure.text})'")


def bare_item(failure: Failure) -> Finding | None:
    """A forced kind without a count that is no word for one: ``always diagnal``."""
    word = failure.previous
    if word is None or failure.clause is None or failure.clause.type != "_ALWAYS" or not failure.top("WORD"):
        return None
    near = closest(str(word), ITEMS)
    if near is None:
        return None
    return finding("GSA014", f"'{word}' needs a count", failure.span(word), fix=f"did you mean '{near}'?")


def slot(failure: Failure) -> Finding | None:
    """A missing word of a fixed vocabulary: a gate's target, ``tokens``, ``shared``."""
    if "WORD" not in failure.expected or failure.in_brackets:
        return None
    if failure.after_operand and failure.begins_operand and not failure.on_new_line:
        return None
    message = f"expected {expectation(failure)}, found {described(failure)}"
    near = closest(failure.word, slot_words(failure)) if failure.word and not failure.on_new_line else None
    if near is not None:
        diagnostic = Diagnostic("GSA014", message, failure.span(), fix=f"did you mean '{near}'?")
        return respelt(failure, near, diagnostic, "WORD")
    return finding("GSA014", message, failure.gap(), fix=example(failure))
