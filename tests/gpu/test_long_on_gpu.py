"""At real lengths no dense reference fits: rows of the kernels' results against eager float64, one at a time."""

from __future__ import annotations

import pytest
import torch

from benchmarks.check import check_rows
from gsa_dsl.tuning.inputs import workload
from tests.gpu.test_verify_on_gpu import compiled

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.mark.parametrize("length", [32768 + 37, 131072])
@pytest.mark.parametrize("name", ["dense", "gated", "sliding_sink", "sparse_only", "gsa", "moba", "nsa_select", "msa"])
def test_rows_agree_with_eager_float64(name: str, length: int) -> None:
    attention = compiled(name, 8, 2, 64)
    inputs = workload(attention, length)
    assert check_rows(attention, inputs, rows=12) < 0.02
    torch.cuda.empty_cache()
