"""The words of the grammar: which terminal each keyword is, and which words a clause's open places take."""

from __future__ import annotations

CLAUSES: dict[str, str] = {
    "causal": "_CAUSAL",
    "full": "_FULL",
    "documents": "_DOCUMENTS",
    "scale": "_SCALE",
    "logit": "LOGIT",
    "sink": "_SINK",
    "gate": "_GATE",
    "indexer": "_INDEXER",
    "budget": "BUDGET",
    "select": "_SELECT",
    "always": "_ALWAYS",
    "train": "_TRAIN",
    "bound": "_BOUND",
    "assert": "_ASSERT",
    "require": "_REQUIRE",
    "without": "_WITHOUT",
}
SETTINGS: dict[str, str] = {"heads": "HEADS", "dim": "DIM", "keys": "KEYS", "pool": "POOL", "score": "SCORE"}
JOINTS: dict[str, str] = {
    "per": "PER",
    "by": "BY",
    "starts": "_STARTS",
    "top": "_TOP",
    "with": "_WITH",
    "in": "_IN",
    "extends": "_EXTENDS",
    "indexer": "_INDEXER",
}
ITEMS: dict[str, str] = {"diagonal": "DIAGONAL"}
KEYWORDS: dict[str, str] = {"attention": "_ATTENTION", **CLAUSES, **SETTINGS, **JOINTS}

INDEX_VARIABLES = "tshgjd"

FORMS: dict[str, str] = {
    "causal": "causal",
    "full": "full",
    "documents": "documents",
    "scale": "scale 1 / sqrt(head_dim)",
    "logit": "logit[t, s] = q[t] . k[s] / sqrt(head_dim) - slope[h] * distance",
    "sink": "sink",
    "gate": "gate output = sigmoid(linear(x)) per element",
    "indexer": "indexer { heads 4  dim 64  keys shared  score[t, s] = ... }",
    "budget": "budget[t] = clamp(..., 256, 4096)",
    "select": "select top 2048 tokens",
    "always": "always first 4, last 64",
    "train": "train indexer with kl",
    "bound": "bound flops <= O(L * D)",
    "assert": "assert score in (0, J)",
    "require": "require k_min <= k_max",
    "without": "without gate value",
    "heads": "heads 4",
    "dim": "dim 64",
    "keys": "keys shared",
    "pool": "pool mean",
    "score": "score[t, s] = sum(j) w[t, j] * relu(q[t, j] . k[s])",
    "attention": "attention name(k = 2048) { causal ... }",
}

BRACKETS: dict[str, str] = {"(": ")", "[": "]", "{": "}"}
