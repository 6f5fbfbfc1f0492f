"""Nothing a spec can say reads a later position or another sequence: what would is refused, and told why."""

from __future__ import annotations

import pytest

from gsa_dsl.diagnostics import semantic_codes as codes
from tests.sema.specs import attention, indexer, quoted, refused, with_budget

POSITION = "position 90 change"
SEQUENCE = "one sequence changes another's"


@pytest.mark.parametrize(
    ("budget", "code", "where", "reasons"),
    [
        # The published GSA code: the variance over its mean over the batch and all queries.
        ("var(score[t]) / mean(var(score[t]))", codes.OTHER_ROWS, "mean(var(score[t]))", (POSITION, SEQUENCE)),
        ("var(score[t]) / (mean(t) var(score[t]))", codes.FOREIGN_REDUCTION, "mean(t", (POSITION, SEQUENCE)),
        ("var(score)", codes.OTHER_ROWS, "var(score)", (POSITION, "one sequence change another's")),
        ("sum(s) score[t, s]", codes.FOREIGN_REDUCTION, "sum(s", (POSITION,)),
        ("var(score[s])", codes.OTHER_ROWS, "var(score[s])", ("another query",)),
        ("mean(score[t, s])", codes.OTHER_ROWS, "mean(score[t, s])", ("a single number",)),
        ("max(k_base)", codes.OTHER_ROWS, "max(k_base)", (POSITION, SEQUENCE)),
        ("max(h) var(score[t])", codes.FOREIGN_REDUCTION, "max(h", ("one for all query heads",)),
        ("score[t, s]", codes.NOT_VISIBLE, "score[t, s]", ("its own row",)),
        ("score[t]", codes.NOT_VISIBLE, "score[t]", ("its own row",)),
        ("q[t, j] . k[s]", codes.NOT_VISIBLE, "q[t, j]", ("its own row",)),
        ("linear(x)", codes.NOT_VISIBLE, "linear(x)", ("its own row",)),
    ],
)
def test_a_budget_sees_its_own_row(budget: str, code: str, where: str, reasons: tuple[str, ...]) -> None:
    text = with_budget(f"clamp({budget}, k_min, k_max)")
    first, *_ = refused(text)
    assert first.code == code
    assert quoted(text, first).startswith(where)
    for reason in reasons:
        assert reason in first.reason


def test_the_fix_for_the_batch_normalised_budget_is_accepted() -> None:
    assert refused(with_budget("clamp(k_base * var(score[t]) / ema(var(score[t])), k_min, k_max)")) == ()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("linear(x) + score[t, s]", codes.NOT_VISIBLE),
        ("linear(x) + var(score[t])", codes.NOT_VISIBLE),
        ("linear(x) + k[s]", codes.NOT_VISIBLE),
        ("linear(x) + ema(linear(x))", codes.NOT_VISIBLE),
        ("linear(x) + (sum(j) 1)", codes.FOREIGN_REDUCTION),
        ("linear(x) + (mean(t) linear(x))", codes.FOREIGN_REDUCTION),
        ("linear(x) + (mean(s) linear(x))", codes.FOREIGN_REDUCTION),
        ("linear(x) + (max(d) linear(x))", codes.FOREIGN_REDUCTION),
    ],
)
def test_a_gate_sees_its_own_position(body: str, code: str) -> None:
    found = refused(attention(f"gate output = sigmoid({body}) per element"))
    assert [d.code for d in found] == [code]


@pytest.mark.parametrize(
    ("body", "where", "fix"),
    [
        ("sum(j) q[s, j] . k[s]", "q[s, j]", "write 'q[t, j]'"),
        ("sum(j) q[t, j] . k[t]", "k[t]", "write 'k[s]'"),
        ("sum(j) w[s, j] * (q[t, j] . k[s])", "w[s, j]", "write 'w[t, j]'"),
        ("sum(j) b[t] * (q[t, j] . k[s])", "b[t]", "write 'b[j]'"),
        ("sum(j) w[j] * (q[t, j] . k[s])", "w[j]", "write 'w[t, j]'"),
        ("sum(j) q[j, t] . k[s]", "q[j, t]", "write 'q[t, j]'"),
    ],
)
def test_a_tensor_has_one_signature(body: str, where: str, fix: str) -> None:
    text = attention(indexer(body), "select top 8 tokens")
    (found,) = refused(text)
    assert (found.code, quoted(text, found), found.fix) == (codes.SIGNATURE, where, fix)
    assert found.reason


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ("(sum(j) q[t, j] . k[s]) / (sum(s) 1)", codes.FOREIGN_REDUCTION, POSITION),
        ("(sum(j) q[t, j] . k[s]) / (max(t) 1)", codes.FOREIGN_REDUCTION, SEQUENCE),
        ("(sum(j) q[t, j] . k[s]) / (mean(g) 1)", codes.FOREIGN_REDUCTION, "one for all kv heads"),
        ("(sum(j) q[t, j] . k[s]) + score[t, s]", codes.NOT_VISIBLE, "a score sees"),
        ("(sum(j) q[t, j] . k[s]) + var(score[t])", codes.NOT_VISIBLE, "a score sees"),
        ("(sum(j) q[t, j] . k[s]) + ema(1)", codes.NOT_VISIBLE, "a score sees"),
        ("(sum(j) q[t, j] . k[s]) + linear(x)", codes.NOT_VISIBLE, "a score sees"),
    ],
)
def test_a_score_sees_one_query_and_one_key(body: str, code: str, reason: str) -> None:
    (found,) = refused(attention(indexer(body), "select top 8 tokens"))
    assert found.code == code
    assert reason in found.reason
