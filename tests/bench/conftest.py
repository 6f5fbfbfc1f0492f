"""What every test of the benchmarks needs."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def eager_flex_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling FlexAttention's eager path costs seconds and changes nothing."""
    module = "torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"
    monkeypatch.setattr(module, True, raising=False)
