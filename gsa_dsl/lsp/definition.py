"""Where a name comes from: parameters, the budget, the score, the indexer's sizes."""

from __future__ import annotations

from gsa_dsl.diagnostics.span import Span
from gsa_dsl.frontend import ast
from gsa_dsl.lsp.document import Document, path_to, word_at

_SETTINGS = {"heads": "heads", "J": "heads", "dim": "dim", "dI": "dim"}


def definition(document: Document, offset: int) -> Span | None:
    """The place that defines the name at ``offset``; None for what is not defined in the spec."""
    word, start, end = word_at(document.source.text, offset)
    tree = document.tree
    if tree is None or not word:
        return None
    path = list(path_to(tree, offset))
    if not any(isinstance(node, ast.Name) and (node.span.start, node.span.end) == (start, end) for node in path):
        return None
    if any(isinstance(node, ast.Call) and node.func.span.start == start for node in path):
        return None
    indexed = any(isinstance(node, ast.Index) and node.base.span.start == start for node in path)
    if not indexed:
        for param in tree.params:
            if param.name.id == word:
                return param.name.span
    return _clause(tree, word, indexed=indexed)


def _clause(tree: ast.Spec, word: str, *, indexed: bool) -> Span | None:
    for clause in tree.clauses:
        if isinstance(clause, ast.Budget) and word == "budget":
            return clause.head.span
        if isinstance(clause, ast.Indexer):
            if word == "score":
                return next((score.head.span for score in clause.scores), None)
            if word in _SETTINGS and not indexed:
                return next((line.span for line in clause.settings if line.key.id == _SETTINGS[word]), None)
    return None
