"""Terms that cancel are as large as gates make them: what rounding leaves of them is no mistake."""

from __future__ import annotations

import pytest

import gsa_dsl
from gsa_dsl.testing.verify import verify


@pytest.mark.parametrize("target", ["query", "key", "value", "output"])
def test_gates_that_enlarge_are_verified(target: str) -> None:
    # With one key a query's gradient is a difference of equals, and 0.
    text = f"attention large {{ causal\n gate {target} = 30 + sigmoid(linear(x)) per element }}"
    attention = gsa_dsl.compile(text, heads=2, kv_heads=1, head_dim=16, backend="interpret")
    report = verify(attention, shapes=[(1, 1), (2, 1)])
    assert report.ok, str(report)
