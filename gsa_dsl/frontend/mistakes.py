"""What a failure of the parser means to the person who wrote the spec: the first of a list of rules that fits."""

from __future__ import annotations

from gsa_dsl.frontend import rules_clauses, rules_expressions
from gsa_dsl.frontend.failure import Failure
from gsa_dsl.frontend.finding import Finding, Rule, example, finding
from gsa_dsl.frontend.phrases import described, expectation

# Order matters: the special before the general.
_RULES: tuple[Rule, ...] = (
    rules_clauses.after_attention,
    rules_clauses.no_attention,
    rules_clauses.end_of_file,
    rules_clauses.no_attention_name,
    rules_expressions.subscript,
    rules_expressions.lookalike,
    rules_expressions.equals,
    rules_expressions.thousands,
    rules_expressions.bracket,
    rules_expressions.reduction,
    rules_expressions.index_variable,
    rules_clauses.removal,
    rules_clauses.clause_word,
    rules_clauses.bare_size,
    rules_clauses.bare_item,
    rules_clauses.joint,
    rules_expressions.two_operands,
    rules_clauses.slot,
    rules_expressions.no_operand,
    rules_expressions.plain_after_named,
    rules_expressions.chained,
)


def explain(failure: Failure) -> Finding:
    """The first rule's finding, or a plain statement of what was expected."""
    for rule in _RULES:
        found = rule(failure)
        if found is not None:
            return found
    message = f"expected {expectation(failure)}, found {described(failure)}"
    between_clauses = failure.wants_clause or failure.wants_setting
    span = failure.span() if between_clauses else failure.gap()
    return finding("GSA001", message, span, fix=example(failure))
