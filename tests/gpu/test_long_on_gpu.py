"""At real lengths: everything against the reference, some queries at a time, and rows of the kernels' results."""

from __future__ import annotations

import pytest
import torch

import gsa_dsl
from gsa_dsl.bench.check import check_rows
from gsa_dsl.testing.verify import verify
from gsa_dsl.tuning.inputs import workload
from tests.gpu.test_verify_on_gpu import EXAMPLES, PARAMS, compiled

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.mark.parametrize("length", [32768 + 37, 131072])
@pytest.mark.parametrize("name", ["dense", "gated", "sliding_sink", "sparse_only", "gsa", "moba", "nsa_select", "msa"])
def test_rows_agree_with_eager_float64(name: str, length: int) -> None:
    attention = compiled(name, 8, 2, 64)
    inputs = workload(attention, length)
    compared, worst = check_rows(attention, inputs, rows=12)
    assert compared >= 12
    assert worst <= 1
    torch.cuda.empty_cache()


# dsa's 64 index heads take minutes to compare at this length; a minute and more each at the longest.
EVERY = [(name, 32768 + 37) for name in sorted(set(PARAMS) - {"dsa"})]
LONGEST = [(name, 131072) for name in ("gsa", "msa", "sliding_sink")]


@pytest.mark.parametrize(("name", "length"), EVERY + LONGEST)
def test_every_quantity_agrees_with_the_reference(name: str, length: int) -> None:
    attention = gsa_dsl.compile(EXAMPLES / f"{name}.gsa", heads=4, kv_heads=2, head_dim=64, backend="triton")
    report = verify(attention, shapes=[(1, length)], dtype=torch.bfloat16, patterns=("normal",), phases=("sparse",))
    assert report.ok, str(report)
    torch.cuda.empty_cache()


# Rows from position 8192 on are surveyed; where scores are no numbers, or all the same, every guess misses.
@pytest.mark.parametrize("pattern", ["nan", "constant", "ties"])
@pytest.mark.parametrize("name", ["gsa", "sparse_only"])
def test_what_a_survey_misses_is_chosen_from_all_ranks(name: str, pattern: str) -> None:
    attention = gsa_dsl.compile(EXAMPLES / f"{name}.gsa", heads=4, kv_heads=2, head_dim=64, backend="triton")
    report = verify(attention, shapes=[(1, 9001)], dtype=torch.bfloat16, patterns=(pattern,), phases=("sparse",))
    assert report.ok, str(report)
    torch.cuda.empty_cache()
