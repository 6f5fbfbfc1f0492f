"""What an interpreted kernel touches outside of its tensors is told, also where it changes no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.errors import InterpreterError

import gsa_dsl
from gsa_dsl.testing.bounds import CheckedAddresses
from gsa_dsl.testing.verify import verify
from tests.properties.conftest import SMALL_TILES

LENGTH = 5


@pytest.fixture
def kernels(tmp_path: Path) -> Any:
    # Features that no descriptor tells, which would know where its tensor ends.
    text = "attention plain { causal }"
    attention = gsa_dsl.compile(text, heads=1, head_dim=12, backend="interpret", config=SMALL_TILES, cache_dir=tmp_path)
    return attention.kernels


def operands(**lengths: int) -> dict[str, Tensor]:
    """What a forward launch takes, far from each other in one piece of memory; some with other lengths."""
    names = ("query", "key", "value", "out", "lse")
    memory = torch.zeros(len(names), 1024)
    widths = dict.fromkeys(names, 12) | {"lse": 1}
    sizes = dict.fromkeys(names, LENGTH) | lengths
    found = {name: memory[i, : sizes[name] * widths[name]] for i, name in enumerate(names)}
    return {name: x.view(1, 1, sizes[name], widths[name]) for name, x in found.items()}


def test_what_lies_in_the_tensors_may_be_touched(kernels: Any) -> None:
    with CheckedAddresses():
        kernels.attend_forward(**operands())


@pytest.mark.parametrize(
    ("name", "told"),
    [("key", "reads .*0 bytes past the end of keys"), ("out", "writes .*0 bytes past the end of out_ptr")],
)
def test_what_lies_past_the_end_of_one_may_not(kernels: Any, name: str, told: str) -> None:
    wrong = operands(**{name: LENGTH - 1})
    with CheckedAddresses(), pytest.raises(InterpreterError, match=f"attend_fwd_kernel {told}"):
        kernels.attend_forward(**wrong)
    kernels.attend_forward(**wrong)  # nobody looks any more


@pytest.mark.parametrize("forced", ["", "always first 2, last 4"])
def test_keys_past_the_end_of_a_full_attention_read_no_table(tmp_path: Path, forced: str) -> None:
    """Their distance lies before the table's first."""
    text = f"attention a {{ full  {forced}  logit[t, s] = q[t] . k[s] + bias[h, min(abs(distance), 7)] }}"
    attention = gsa_dsl.compile(text, heads=2, head_dim=16, backend="interpret", config=SMALL_TILES, cache_dir=tmp_path)
    report = verify(attention, shapes=[(1, 3)], patterns=("normal",))
    assert report.ok, str(report)
