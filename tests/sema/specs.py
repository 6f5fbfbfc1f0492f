"""Small specs and what the checker says of them."""

from __future__ import annotations

from pathlib import Path

from gsa_dsl.diagnostics import Diagnostic, Source, SpecError
from gsa_dsl.frontend.library import load
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema.check import check
from gsa_dsl.sema.typed import CheckedSpec

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.gsa"))
SIGMOID_SCORE = "sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])"


def attention(*clauses: str, params: str = "") -> str:
    """The text of a causal attention with ``clauses``, one a line."""
    return "\n".join([f"attention small{params} {{", "causal", *clauses, "}"])


def indexer(score: str = SIGMOID_SCORE, heads: str = "4", dim: str = "64", keys: str = "shared") -> str:
    return f"indexer {{ heads {heads} dim {dim} keys {keys} score[t, s] = {score} }}"


def own_keys(score: str = "sum(j) q[t, j] . k[s] / sqrt(dim)", pool: str = "") -> str:
    """An indexer over the attention's own query and key."""
    return f"indexer {{ keys attention {pool} score[t, s] = {score} }}"


def with_budget(budget: str, *clauses: str, params: str = "(k_base = 2048, k_min = 256, k_max = 4096)") -> str:
    """A spec whose scores lie in (0, 4) and whose budget is ``budget``."""
    return attention(indexer(), f"budget[t] = {budget}", "select top budget tokens", *clauses, params=params)


def checked(text: str, **params: int | float) -> CheckedSpec:
    return check(parse(Source("small.gsa", text)), params)


def example(path: Path) -> CheckedSpec:
    """An example, with what it extends."""
    return check(parse(load(path)))


def refused(text: str, **params: int | float) -> tuple[Diagnostic, ...]:
    """The mistakes of ``text``; none if it is accepted."""
    try:
        checked(text, **params)
    except SpecError as error:
        return error.diagnostics
    return ()


def quoted(text: str, diagnostic: Diagnostic) -> str:
    """The source that a diagnostic points at."""
    return text[diagnostic.span.start : diagnostic.span.end]
