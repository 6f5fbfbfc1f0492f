"""What the words of the language mean, in a sentence each."""

from __future__ import annotations

from gsa_dsl.frontend import ast
from gsa_dsl.frontend.words import FORMS
from gsa_dsl.ops import FUNCTIONS, REDUCTIONS
from gsa_dsl.sema import causality

STATISTICS: dict[str, str] = {
    "var": "the variance of the row's scores; 0 for a single key",
    "mean": "the mean of the row's scores",
    "max": "the largest of the row's scores",
    "min": "the smallest of the row's scores",
    "count": "how many keys that query t sees have a finite score",
    "entropy": "the entropy, in nats, of the softmax of the row's scores; 0 for a single key",
}
LEVELS: dict[str, str] = {
    "top_p": "how many of the row's highest scores hold the share P of its softmax, a constant in (0, 1]",
    "above": "how many of the row's scores are larger than X, a constant",
}
_REDUCED: dict[str, str] = {
    "sum": "the sum over the indexer's heads of the product that follows",
    "mean": "the mean over the indexer's heads of the product that follows",
    "max": "the largest over the indexer's heads of the product that follows",
}
_OTHERS: dict[str, str] = {
    "ema": "ema(EXPR, decay = 0.99, init = 1): the running mean over past training steps, as it was before this one",
    "linear": "linear(x): a learned linear map of the layer's input, one number a position and head (and feature); "
    "linear(x, features = n) reads its first n features only",
    "given": "given(NAME): a tensor that the caller passes under that name, in the shape that the gate asks for",
}
TENSOR_DOCS: dict[str, str] = {
    "q": "the indexer's query at position t, for its head j: a vector of `dim` features",
    "k": "the indexer's key at position s, shared by its heads: a vector of `dim` features",
    "w": "the weight of the indexer's head j for the query at position t",
    "b": "the bias of the indexer's head j",
    "score": "how well the key at position s suits the query at position t, by the indexer",
    "x": "the layer's input",
}
LOGIT_DOCS: dict[str, str] = {
    "q": "the attention's query at position t, of the query head at hand",
    "k": "the attention's key at position s, of the kv head at hand",
    "distance": "how far the key lies before the query: t - s",
    "slope": "ALiBi's slope of the query head: 2^(-8 (h + 1) / heads)",
    "bias": "a learned table with numbers for each query head, read at a function of the distance",
    "score": TENSOR_DOCS["score"],
}

CHOICE_DOCS: dict[str, str] = {
    "tokens": "single keys are chosen",
    "blocks": "blocks(B): blocks of B keys are chosen, B a power of two",
    "by": "what a block's score is made of: `max`, `mean` or `sum` of the scores of its tokens that the query sees",
    "kv_head": "per kv_head: each kv head for itself",
    "queries": "per queries(R): R queries share the choice of the first of them",
    "diagonal": "the block that the query lies in; `last 1`",
    "shared": "keys shared: one set of keys for all heads of the attention",
    "attention": "keys attention: the attention's own query and key as they are passed; no `heads`, `dim`, `w` or `b`",
    "pool": "the keys of a block are made one, by their `mean` or elementwise `max`",
}
"""What the words of ``select``, ``always`` and an indexer's keys mean."""


def function_docs(name: str) -> list[str]:
    """What ``name`` means when called: one sentence for each way to call it, none if it is no function."""
    found = [f"`{name}`: {FUNCTIONS[name].doc}"] if name in FUNCTIONS else []
    found += [f"`{name}(score[t])`: {STATISTICS[name]}"] if name in STATISTICS else []
    found += [f"`{causality.usage(name)}`: {LEVELS[name]}"] if name in LEVELS else []
    found += [f"`{name}(j) ...`: {_REDUCED[name]}"] if name in REDUCTIONS else []
    return [*found, *([f"`{name}`: {_OTHERS[name]}"] if name in _OTHERS else [])]


def clause_docs(node: ast.Node) -> str:
    """What a clause says, and how it is written."""
    word = type(node).__name__.lower()
    said = (type(node).__doc__ or "").replace("``", "`")
    return f"{said}\n\n```gsa\n{FORMS[word]}\n```" if word in FORMS else said
