"""Mistakes in expressions: operators, brackets, numbers, index variables, operands."""

from __future__ import annotations

from lark import Token, Tree

from gsa_dsl.diagnostics.errors import Label
from gsa_dsl.frontend import lookalikes
from gsa_dsl.frontend.failure import Failure, end_of, start_of
from gsa_dsl.frontend.finding import Finding, example, finding, still_open
from gsa_dsl.frontend.phrases import described
from gsa_dsl.frontend.reader import span_at
from gsa_dsl.frontend.words import BRACKETS, FORMS, INDEX_VARIABLES, KEYWORDS

# --- signs -----------------------------------------------------------------------------------------------------------


def lookalike(failure: Failure) -> Finding | None:
    """Spellings of other languages; one may have begun with the token before."""
    text, previous = failure.source.text, failure.previous
    candidates: list[tuple[int, int]] = []  # where a lookalike may begin, and where it must not end before
    if previous is not None and previous.type == "DOT":
        number = text[: start_of(previous)].rstrip("0123456789.")
        candidates.append((len(number), failure.previous_end))
    if previous is not None and failure.previous_end == failure.start and not str(previous)[0].isalnum():
        candidates.append((start_of(previous), failure.start + 1))
    if failure.found.type in ("STRAY", "DOT", "EQUAL"):
        candidates.append((failure.start, failure.start + 1))
    for start, least in candidates:
        found = lookalikes.find(text, start)
        if found is not None and found[1] >= least:
            what, end = found
            message = what.message.format(text[start:end])
            return finding(what.code, message, span_at(text, start, end), what.reason, what.fix)
    return None


def thousands(failure: Failure) -> Finding | None:
    """``2,048`` where a comma separates."""
    comma = failure.previous
    if comma is None or comma.type != "COMMA" or failure.found.type != "NUMBER":
        return None
    before = failure.source.text[: start_of(comma)]
    if failure.previous_end != failure.start or not before[-1:].isdigit():
        return None
    start = len(before.rstrip("0123456789"))
    span = span_at(failure.source.text, start, end_of(failure.found))
    plain = f"{before[start:]}{failure.text}"
    return finding("GSA008", "a comma inside a number", span, "a comma separates", f"write '{plain}'")


def equals(failure: Failure) -> Finding | None:
    """``=`` and ``==`` for each other, and anything but ``<=`` in a bound."""
    if failure.text in ("=", "==") and failure.top("EQUAL"):
        span = failure.span(failure.previous).to(failure.span())
        return finding("GSA010", "a definition has one '='", span, "'==' compares", "write '='")
    if failure.text in ("=", "<", "==", ">=", ">") and "_AT_MOST" in failure.expected:
        reason = "a bound is an upper limit that the compiler proves"
        message = f"a bound is written with '<=', not '{failure.text}'"
        return finding("GSA010", message, failure.span(), reason, "write '<='")
    if failure.text == "=" and failure.clause is not None and failure.top(failure.clause.type):
        if not failure.wants_operand:
            return None
        return finding("GSA010", f"no '=' follows '{failure.clause}'", failure.span(), fix=example(failure))
    if failure.text == "=" and "COMPARE" in failure.expected:
        return finding("GSA010", "'=' does not compare", failure.span(), "'=' defines", "write '=='")
    return None


def bracket(failure: Failure) -> Finding | None:
    """Closing brackets that match nothing, and brackets left open where a clause ends."""
    found, innermost = failure.text, failure.innermost
    if found in (")", "]") and not failure.in_brackets:
        return finding("GSA004", f"'{found}' closes nothing", failure.span(), fix=f"remove '{found}' or open it")
    if innermost is None or not failure.in_brackets:
        return None
    closing = BRACKETS[str(innermost)]
    if found in (")", "]") and found != closing:
        message = f"'{found}' does not close '{innermost}'"
        labels = [still_open(failure, innermost)]
        return finding("GSA004", message, failure.span(), fix=f"write '{closing}'", labels=labels)
    clause = str(failure.clause) if failure.clause is not None else ""
    ends = found in ("{", "}") or (failure.on_new_line and failure.word in KEYWORDS)
    if not ends and (clause, found) not in (("gate", "per"), ("select", "tokens")):
        return None
    message, labels = f"'{innermost}' is never closed", [Label(failure.span(), "still open here")]
    return finding("GSA003", message, failure.span(innermost), fix=f"add '{closing}'", labels=labels)


# --- index variables -------------------------------------------------------------------------------------------------


def subscript(failure: Failure) -> Finding | None:
    """``budget`` or ``score`` without its subscript, and what a subscript cannot hold."""
    if failure.top("BUDGET") or failure.top("SCORE") or failure.top("LOGIT"):
        form = FORMS[str(failure.clause)].split(" =")[0]
        message = f"'{failure.clause}' needs its index variables: '{form}'"
        reason = "the subscript says what the definition may depend on"
        return finding("GSA012", message, failure.gap(), reason, f"write '{form} = ...'")
    if failure.text == "[" and failure.after_operand:
        fix = "write the subscript after a tensor: 'q[t, j]'"
        return finding("GSA012", "only a name has a subscript", failure.span(), fix=fix)
    innermost = failure.innermost
    if innermost is None or innermost.type != "LSQB" or not failure.expected <= {"INDEX", "NAME", "COMMA", "RSQB"}:
        return None
    if failure.word or failure.text in ("{", "}", ")"):
        return None
    message = f"a subscript holds index variables only, found {described(failure)}"
    reason = "positions are not shifted, sliced or picked: each index variable runs over its whole range"
    fix = "write index variables: 'q[t, j]', 'k[s]', 'score[t, s]'"
    return finding("GSA012", message, failure.span(), reason, fix)


def reduction(failure: Failure) -> Finding | None:
    """``sum(j)`` without a body, over two variables, or an index variable used as a number in a call."""
    if failure.top("NAME", "LPAR", "INDEX", "RPAR"):
        head = "".join(str(token) for token in failure.stack[-4:])
        reason = "a reduction takes the product that follows it"
        fix = f"write what to reduce: '{head} w[t, j]'"
        return finding("GSA013", f"'{head}' has no body", failure.gap(), reason, fix)
    if not failure.top("NAME", "LPAR", "INDEX"):
        return None
    index = failure.stack[-1]
    assert isinstance(index, Token)
    if failure.text == ",":
        message, reason = "a reduction over more than one variable", "a reduction runs over one index variable"
        return finding("GSA013", message, failure.span(), reason, f"write '({index})'")
    return _index_value(failure, index)


def _index_value(failure: Failure, index: Token) -> Finding:
    reason = "index variables (t s h g j d) stand in subscripts and reductions; they are not numbers"
    fix = f"use '{index}' in a subscript, as in 'w[t, j]', or rename the parameter you meant"
    return finding("GSA011", f"index variable '{index}' is used as a value", failure.span(index), reason, fix)


def index_variable(failure: Failure) -> Finding | None:
    if len(failure.text) != 1 or failure.text not in INDEX_VARIABLES or "INDEX" in failure.expected:
        return None
    if failure.wants_operand:
        return _index_value(failure, failure.found)
    if "NAME" not in failure.expected:
        return None
    reason = "t s h g j d are the index variables"
    return finding("GSA011", f"'{failure.text}' cannot be a name", failure.span(), reason, "choose a longer name")


# --- expressions -----------------------------------------------------------------------------------------------------


def two_operands(failure: Failure) -> Finding | None:
    if not failure.begins_operand or failure.previous is None:
        return None
    waits_for_word = "WORD" in failure.expected or failure.wants_joint
    if failure.on_new_line and (failure.word in KEYWORDS or waits_for_word):
        return None
    if not (failure.after_operand or {"COMMA", "RPAR"} <= failure.expected):
        return None
    comma = "COMMA" in failure.expected
    before = str(failure.previous)
    what = "',' or an operator" if comma and failure.after_operand else "','" if comma else "an operator"
    fix = f"put {what} before '{failure.text}'"
    message = f"missing {what} between '{before}' and '{failure.text}'"
    return finding("GSA007", message, failure.gap(), fix=fix)


def no_operand(failure: Failure) -> Finding | None:
    if not failure.wants_operand or failure.previous is None:
        return None
    message = f"expected an expression after '{failure.previous}', found {described(failure)}"
    begins = failure.previous is failure.clause or failure.top("EQUAL") or failure.top("_AT_MOST")
    fix = example(failure) if begins else f"write what follows '{failure.previous}', or remove it"
    return finding("GSA006", message, failure.gap(), fix=fix)


def plain_after_named(failure: Failure) -> Finding | None:
    """``where(a = b, 1, 2)``: an ``=`` that was meant to compare, or arguments in the wrong order."""
    if not failure.in_brackets or failure.block is None or not failure.top("COMMA") or "NAME" not in failure.expected:
        return None
    named = next((item for item in reversed(failure.stack[:-1]) if isinstance(item, Tree)), None)
    if named is None:
        return None
    reason = "'=' in a call names an argument, and no plain one may follow"
    fix = "write '==' to compare, or put named arguments last"
    return finding("GSA010", "a plain argument after a named one", failure.span(), reason, fix)


def chained(failure: Failure) -> Finding | None:
    if failure.text == ".":
        reason = "a dot product joins two vectors"
        return finding("GSA001", "a second '.' in one dot product", failure.span(), reason, "write 'q[t, j] . k[s]'")
    if failure.text in ("<", "<=", ">", ">=", "==") and not failure.wants_operand:
        required = failure.top("_REQUIRE") or (failure.clause is not None and failure.clause.type == "_REQUIRE")
        reason = "a comparison has two sides and stands in where(condition, a, b)"
        fix = "nest two calls of where"
        if required and not failure.in_brackets:
            reason, fix = "a comparison has two sides", "write two 'require' clauses"
        return finding("GSA001", "a comparison cannot go on here", failure.span(), reason, fix)
    return None
