"""What may be written next: the parser says which kind of word, the clause which names it can see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.failure import Failure
from gsa_dsl.frontend.parser import parse, unfinished
from gsa_dsl.frontend.phrases import slot_words
from gsa_dsl.frontend.reader import without_comments
from gsa_dsl.frontend.words import CLAUSES, FORMS, SETTINGS
from gsa_dsl.lsp.words import LOGIT_DOCS, STATISTICS, TENSOR_DOCS, function_docs
from gsa_dsl.ops import FUNCTIONS, REDUCTIONS
from gsa_dsl.sema.contexts import (
    SCALARS,
    VECTORS,
    Context,
    Number,
    budget_context,
    gate_context,
    logit_context,
    promise_context,
    scale_context,
    score_context,
    size_context,
)
from gsa_dsl.sema.interval import REALS
from gsa_dsl.sema.names import INDICES, SHAPE_SYMBOLS

_SIZES = {"J": 1, "dI": 1}
_ARGUMENTS = {"ema": {"decay": "0.99", "init": "1"}, "kl": {"temperature": "1"}, "linear": {"features": "16"}}


@dataclass(frozen=True, slots=True)
class Completion:
    """``label`` is shown and matched, ``insert`` written; ``kind``: keyword, word, parameter, constant, function,
    tensor, index or argument."""

    label: str
    kind: str
    detail: str
    insert: str


def completions(source: Source, offset: int) -> list[Completion]:
    """What may stand at ``offset``, the beginning of a word before it included; nothing in a comment."""
    before = source.text[:offset]
    start = len(before.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"))
    if "#" in before.rsplit("\n", 1)[-1]:
        return []
    try:
        failure = unfinished(Source(source.name, before[:start]))
    except SpecError:
        return []
    found = {item.label: item for item in _items(failure)} if failure is not None else {}
    return list(found.values())


def _items(failure: Failure) -> Iterator[Completion]:
    if failure.wants_clause:
        yield from (_keyword(word) for word in CLAUSES)
    elif failure.wants_setting:
        yield from (_keyword(word) for word in SETTINGS)
    elif failure.top("_WITHOUT"):
        yield from (_keyword(word) for word, terminal in CLAUSES.items() if terminal in failure.expected)
    yield from (_keyword(word) for word in (*failure.wants_joint, *failure.may_go_on))
    if "WORD" in failure.expected and not failure.wants_clause:
        yield from (Completion(word, "word", "", word) for word in slot_words(failure))
    if "_ATTENTION" in failure.expected:
        yield _keyword("attention")
    if "INDEX" in failure.expected and not failure.wants_operand:
        yield from (Completion(name, "index", meaning, name) for name, meaning in INDICES.items())
    if failure.wants_operand:
        yield from _names(failure)
        yield from _arguments(failure)
    elif "NAME" in failure.expected:
        yield from _arguments(failure)
        if failure.top("_ASSERT"):
            yield from (Completion(word, "word", "", word) for word in ("score", "budget"))


def _keyword(word: str) -> Completion:
    return Completion(word, "keyword", FORMS.get(word, ""), word)


# --- names in an expression ------------------------------------------------------------------------------------------

Params = Mapping[str, Number]

CONTEXTS: dict[str, Callable[[Params], Context]] = {
    "attention": lambda params: size_context(params, "a default"),
    "scale": scale_context,
    "logit": lambda params: logit_context(params, REALS),
    "gate": lambda params: gate_context(params, "element"),
    "budget": budget_context,
    "select": lambda params: size_context(params, "the count"),
    "always": lambda params: size_context(params, "the count"),
    "train": lambda params: size_context(params, "the temperature"),
    "bound": lambda params: size_context({**dict.fromkeys(SHAPE_SYMBOLS, 1), **params}, "the bound"),
    "assert": lambda params: promise_context(params, _SIZES),
    "require": lambda params: size_context(params, "a requirement"),
    "heads": lambda params: size_context(params, "'heads'"),
    "dim": lambda params: size_context(params, "'dim'"),
    "score": lambda params: score_context(params, 1, 1),
}
"""What an expression sees, by the word that begins its clause or its line of the indexer."""


def _names(failure: Failure) -> Iterator[Completion]:
    clause = str(failure.clause) if failure.clause is not None else ""
    if clause not in CONTEXTS:
        return
    params = dict.fromkeys(_declared(failure.source.text), 1)
    context = CONTEXTS[clause](params)
    for name in params:
        yield Completion(name, "parameter", "parameter", name)
    for name in {**context.constants, **context.dimensions}:
        if name not in params:
            yield Completion(name, "constant", SHAPE_SYMBOLS.get(name, ""), name)
    if clause == "select" and failure.top("_TOP"):
        yield Completion("budget", "constant", "as many keys as the budget clause says", "budget")
    if context.tensors:
        for name, indices in {**VECTORS, **SCALARS}.items():
            yield Completion(name, "tensor", TENSOR_DOCS[name], f"{name}[{', '.join(indices)}]")
    elif context.place is not None:
        written = {**context.vectors, **{name: known.indices for name, known in context.readable.items()}}
        for name, indices in {**written, "bias": ("h", "min(distance, 511)")}.items():
            yield Completion(name, "tensor", LOGIT_DOCS[name], f"{name}[{', '.join(indices)}]" if indices else name)
    yield from _functions(context)


def _functions(context: Context) -> Iterator[Completion]:
    """The functions that mean something in ``context``."""
    for name in FUNCTIONS:
        yield _function(name, f"{name}(")
    if context.tensors:
        yield from (_function(name, f"{name}(j) ") for name in REDUCTIONS)
    if context.score is not None:
        yield from (_function(name, f"{name}(score[t])") for name in STATISTICS)
        yield _function("ema", "ema(")
    if context.linear is not None:
        yield _function("linear", "linear(x)")
        yield _function("given", "given(")


def _function(name: str, insert: str) -> Completion:
    return Completion(name, "function", "; ".join(function_docs(name)).replace("`", ""), insert)


def _arguments(failure: Failure) -> Iterator[Completion]:
    """The named arguments of the call that is being written."""
    opened = failure.innermost
    if opened is None:
        return
    call = re.search(r"(\w+)\s*\Z", failure.source.text[: opened.start_pos])
    for name, value in _ARGUMENTS.get(call[1] if call else "", {}).items():
        yield Completion(name, "argument", f"{name} = {value}", f"{name} = ")


def _declared(text: str) -> list[str]:
    """The parameters that the header of a spec declares, however broken its block is."""
    header = without_comments(text).split("{", 1)[0]
    try:
        return [param.name.id for param in parse(Source("header", f"{header}{{ }}")).params]
    except SpecError:
        return []
