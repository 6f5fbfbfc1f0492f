"""What stands under the cursor: an expression's type and range, a function's meaning, a clause's cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gsa_dsl.diagnostics.span import Span
from gsa_dsl.frontend import ast
from gsa_dsl.lsp.document import Document, path_to, typed_nodes, within, word_at
from gsa_dsl.lsp.words import CHOICE_DOCS, LOGIT_DOCS, TENSOR_DOCS, clause_docs, function_docs
from gsa_dsl.sema import typed
from gsa_dsl.sema.names import INDICES
from gsa_dsl.sema.typed import CheckedSpec, Typed

_QUANTITIES = ("flops", "bytes", "memory", "selected")
_SHAPE = {"heads": 32, "kv_heads": 8, "head_dim": 128}
_LENGTH = 32768


@dataclass(frozen=True, slots=True)
class Hover:
    """Markdown about the text under ``span``."""

    markdown: str
    span: Span


def hover(document: Document, offset: int) -> Hover | None:
    """What is to be said about the character at ``offset``; None in blanks, comments and broken texts."""
    word, start, end = word_at(document.source.text, offset)
    if document.tree is None or not (word or _is_code(document.source.text, offset)):
        return None
    path = list(path_to(document.tree, offset))
    clause = next((node for node in reversed(path) if isinstance(node, ast.Clause | ast.Setting | ast.Score)), None)
    if clause is not None and start == clause.span.start and word:
        return Hover("\n\n".join([clause_docs(clause), *_costs(document.spec, clause.span)]), clause.span)
    expression = _innermost(document.spec, offset)
    declared = next((param for param in document.tree.params if param.name.id == word), None)
    said = [*_parameter(document, declared, word), *_function(path, word), *_tensor(path, word), *_choice(path, word)]
    if expression is not None:
        said = [_described(document, expression), *said]
    if not said:
        return None
    span = expression.span if expression is not None else _span(path, start, end)
    return Hover("\n\n".join(said), span)


def _is_code(text: str, offset: int) -> bool:
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return "#" not in line and bool(text[offset : offset + 1].strip())


def _innermost(spec: CheckedSpec | None, offset: int) -> Typed | None:
    """The smallest expression there."""
    found = [node for node in typed_nodes(spec) if within(node.span, offset)]
    return min(found, key=lambda node: node.span.end - node.span.start, default=None)


def _described(document: Document, node: Typed) -> str:
    """An expression's text, what it varies with, and the range that is proved for it."""
    text = " ".join(document.source.text[node.span.start : node.span.end].split())
    varies = ", ".join(f"`{name}` ({INDICES[name]})" for name in INDICES if name in node.free)
    lines = [f"```gsa\n{text}\n```", f"a number that varies with {varies}" if varies else "a constant"]
    if isinstance(node, typed.Const):
        lines.append(f"value `{node.value:g}`")
    else:
        lines.append(f"range `{node.range}`")
    return "\n\n".join(lines)


def _parameter(document: Document, declared: ast.Param | None, word: str) -> list[str]:
    if declared is None:
        return []
    value = dict(document.spec.params).get(word) if document.spec is not None else None
    default = document.source.text[declared.default.span.start : declared.default.span.end]
    bound = f", {value:g}" if value is not None and f"{value:g}" != default else ""
    return [f"parameter `{word}`, by default `{default}`{bound}"]


def _function(path: list[ast.Node], word: str) -> list[str]:
    called = any(isinstance(node, ast.Call | ast.Reduce) for node in path[-3:])
    return function_docs(word) if called else []


def _tensor(path: list[ast.Node], word: str) -> list[str]:
    if any(isinstance(node, ast.Logit) for node in path):
        return [f"`{word}`: {LOGIT_DOCS[word]}"] if word in LOGIT_DOCS else []
    inside = any(isinstance(node, ast.Index) and node.base.id == word for node in path)
    return [f"`{word}`: {TENSOR_DOCS[word]}"] if inside and word in TENSOR_DOCS else []


def _choice(path: list[ast.Node], word: str) -> list[str]:
    """A word of a choice; a name in its count or its sizes is none."""
    inside = any(isinstance(node, ast.Select | ast.Always | ast.Setting) for node in path)
    return [f"`{word}`: {CHOICE_DOCS[word]}"] if inside and word in CHOICE_DOCS else []


def _costs(spec: CheckedSpec | None, span: Span) -> list[str]:
    """What the construct costs: a table of its formulas, with figures at one size."""
    from gsa_dsl.cli.cost_table import flops, size
    from gsa_dsl.sema.cost import cost
    from gsa_dsl.sema.symbols import Undecidable, spelt

    if spec is None:
        return []
    try:
        table = cost(spec)
    except Undecidable:
        return []
    figures = table.evaluate(_LENGTH, *_SHAPE.values())
    shown: dict[str, Callable[[float], str]] = {"flops": flops, "bytes": size, "memory": size, "selected": _count}
    rows = [
        f"| {row.construct} | {name} | {shown[name](getattr(figure, name))} | `{spelt(getattr(row, name))}` |"
        for row, figure in zip(table.rows, figures, strict=False)
        if row.span.source is None and span.start <= row.span.start and row.span.end <= span.end
        for name in _QUANTITIES
        if getattr(row, name) != 0
    ]
    sizes = ", ".join(f"{name} = {value}" for name, value in _SHAPE.items())
    head = [f"Cost at L = {_LENGTH:,}, {sizes}:\n", "| construct | of | there | formula |", "|---|---|---|---|"]
    return ["\n".join([*head, *rows])] if rows else []


def _count(keys: float) -> str:
    return f"{keys:,.0f}"


def _span(path: list[ast.Node], start: int, end: int) -> Span:
    """The place of the word itself: that of its node, as far as there is one."""
    exact = [node.span for node in path if (node.span.start, node.span.end) == (start, end)]
    return exact[-1] if exact else path[-1].span
