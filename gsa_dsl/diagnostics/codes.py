"""The stable codes of all diagnostics and what each stands for. A code is never reused for another mistake."""

from __future__ import annotations

from gsa_dsl.diagnostics.semantic_codes import SEMANTIC

SYNTAX: dict[str, str] = {
    "GSA001": "unexpected text",
    "GSA002": "unknown clause",
    "GSA003": "unclosed bracket",
    "GSA004": "closing bracket without a match",
    "GSA005": "the file ends too early",
    "GSA006": "missing expression",
    "GSA007": "missing comma or operator",
    "GSA008": "malformed number",
    "GSA009": "character without a meaning",
    "GSA010": "operator spelt as in another language",
    "GSA011": "index variable out of place",
    "GSA012": "missing or malformed subscript",
    "GSA013": "malformed reduction",
    "GSA014": "missing or misspelt word",
    "GSA015": "clause in the wrong block",
    "GSA016": "not exactly one attention",
    "GSA017": "not readable as text",
    "GSA018": "too large",
    "GSA019": "nested too deeply",
}

CODES: dict[str, str] = {**SYNTAX, **SEMANTIC}
