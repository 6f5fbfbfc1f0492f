"""What of a candidate's result may differ from the default's, and what may not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gsa_dsl.tuning.tolerance import mistake, row_errors

HEADS, LENGTH = 4, 9216


def result(seed: int = 0) -> Tensor:
    return torch.randn(1, HEADS, LENGTH, 16, generator=torch.Generator().manual_seed(seed))


def test_a_key_more_in_one_row_passes_where_keys_are_chosen() -> None:
    expected = result()
    for amount in (0.1026, 0.8):
        actual = expected.clone()
        # In every head: they share the choice.
        row = actual[0, :, 5000]
        row += amount * 4.0 * torch.nn.functional.normalize(result(1)[0, :, 0], dim=-1)
        assert mistake(actual, expected, chooses=True) is None
        assert "has a row that is off by" in str(mistake(actual, expected, chooses=False))
    actual = expected.clone()
    actual[0, 1, 5000] += (
        0.3  # of a row's 4, everywhere 0.075: what no choice explains is not more than rounding allows
    )
    assert mistake(actual, expected, chooses=True) is None
    actual[0, 1, 5000] *= 3.0
    assert "has a row that is off by" in str(mistake(actual, expected, chooses=True))


@pytest.mark.parametrize("chooses", [True, False])
@pytest.mark.parametrize("heads", [slice(0, HEADS), slice(2, 3)], ids=["everywhere", "in one head"])
def test_a_lost_tile_is_found(chooses: bool, heads: slice) -> None:
    expected = result()
    unwritten, other = expected.clone(), expected.clone()
    unwritten[0, heads, 4000:4008] *= 0.2  # each row by itself is near enough for one that chose otherwise
    other[0, heads, 4000:4008] = expected[0, heads, 4008:4016]
    assert row_errors(unwritten, expected)[0] < 1.6
    assert mistake(unwritten, expected, chooses=chooses) is not None
    assert mistake(other, expected, chooses=chooses) is not None


def test_rows_that_are_all_a_little_off_are_found() -> None:
    expected = result()
    assert mistake(1.01 * expected, expected, chooses=False) is None
    for chooses in (True, False):
        why = mistake(1.03 * expected, expected, chooses=chooses)
        assert why == "is off by 0.03 of the default's over all rows (0.02 allowed)"


def test_rows_of_a_lost_tile_add_up() -> None:
    expected = result()
    actual = expected.clone()
    actual[0, 2, 4000:4008] = 0.35 * expected[0, 2, 4000:4008]  # off by 0.65, and together 0.019
    assert mistake(actual, expected, chooses=True) is None
    actual[0, 2, 4000:4016] = 0.35 * expected[0, 2, 4000:4016]
    assert "over all rows" in str(mistake(actual, expected, chooses=True))


@pytest.mark.parametrize("chooses", [True, False])
def test_nan_is_wrong_and_equal_infinities_are_not(chooses: bool) -> None:
    expected = result()
    actual = expected.clone()
    actual[0, 0, 7, 3] = float("nan")
    assert mistake(actual, expected, chooses=chooses) is not None
    assert mistake(actual, actual, chooses=chooses) is not None
    sums = torch.tensor([[[1.0, float("-inf"), 2.0]]])
    assert mistake(sums, sums, chooses=chooses) is None
    assert mistake(sums, sums.nan_to_num(neginf=-3.0), chooses=chooses) is not None


def test_single_numbers_are_rows() -> None:
    sums = torch.linspace(1.0, 8.0, 64 * 4096).reshape(1, 64, 4096)
    actual = sums.clone()
    actual[0, 5, 70] += 2.0
    assert mistake(actual, sums, chooses=True) is None
    assert mistake(actual, sums, chooses=False) is not None
