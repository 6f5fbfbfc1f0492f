"""Which words mean something by themselves, and what a misspelt one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable

from gsa_dsl.diagnostics.suggest import did_you_mean
from gsa_dsl.ops import FUNCTIONS, LEVELS, REDUCTIONS, STATISTICS

INDICES = {
    "t": "the query's position",
    "s": "the key's position",
    "h": "the query head",
    "g": "the kv head",
    "j": "the indexer head",
    "d": "the feature",
}
SHAPE_SYMBOLS = {
    "L": "the sequence length",
    "B": "the batch",
    "H": "query heads",
    "Hkv": "kv heads",
    "G": "query heads per kv head",
    "D": "the head dimension",
    "Dv": "the value dimension",
    "J": "indexer heads",
    "dI": "the indexer's dimension",
}
CALLABLE = frozenset({*FUNCTIONS, *REDUCTIONS, *STATISTICS, *LEVELS, "ema", "linear", "given"})
# Names that a call of `gsa_dsl.compile` already uses for something else than a parameter of the spec.
_COMPILE = frozenset({"heads", "kv_heads", "head_dim", "value_dim", "backend", "config", "cache_dir", "bases"})

RESERVED: dict[str, str] = {
    **{name: f"it is {meaning}" for name, meaning in INDICES.items()},
    **{name: f"it is {meaning}" for name, meaning in SHAPE_SYMBOLS.items()},
    **dict.fromkeys(sorted(CALLABLE), "it is a function"),
    **dict.fromkeys(sorted(_COMPILE), "compile takes an argument of that name"),
    "dim": "in a score it is the indexer's dimension",
    "budget": "'select top budget tokens' means the budget clause",
    "score": "it is the indexer's score",
    "distance": "in a logit it is t - s",
    "slope": "in a logit it is ALiBi's slope of a head",
    "bias": "in a logit it is the learned table",
    "inf": "it is infinity",
    "itemsize": "in a cost it is the bytes of an element",
}


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """``'a', 'b' or 'c'``."""
    *most, last = [f"'{word}'" for word in words]
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def near(word: str, options: Iterable[str], otherwise: str) -> str:
    """The suggestion for ``word``, or ``otherwise`` where nothing is close."""
    return did_you_mean(word, options) or otherwise
