"""The rotary embedding against complex numbers, and the properties it is used for."""

from __future__ import annotations

import pytest
import torch

from gsa_dsl.nn.rotary import rotate


def test_a_pair_turns_like_a_complex_number() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 17, 10, dtype=torch.float64)
    frequency = 100.0 ** (-torch.arange(5, dtype=torch.float64) / 5)
    turn = torch.polar(torch.ones(17, 5, dtype=torch.float64), torch.arange(17)[:, None] * frequency)
    expected = torch.complex(x[..., :5], x[..., 5:]) * turn
    torch.testing.assert_close(rotate(x, 100.0), torch.cat((expected.real, expected.imag), -1), atol=1e-5, rtol=0)


def test_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(8, dtype=torch.float64).expand(40, 8) for _ in range(2))
    logits = rotate(q, 50.0) @ rotate(k, 50.0).T
    for distance in (1, 7, 30):
        diagonal = logits.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    assert logits[0, 0] - logits[9, 0] != 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_stays_and_far_positions_keep_their_angle(dtype: torch.dtype) -> None:
    x = torch.ones(5000, 2, dtype=dtype)
    got = rotate(x, 10000.0)
    assert got.dtype == dtype
    position = torch.tensor(4999.0, dtype=torch.float64)
    expected = torch.stack((position.cos() - position.sin(), position.sin() + position.cos()))
    torch.testing.assert_close(got[4999].double(), expected, atol=1e-2, rtol=0)


def test_positions_may_be_given() -> None:
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rotate(x, 100.0, torch.arange(9)), rotate(x, 100.0))
    restarted = rotate(x, 100.0, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 4]).expand(2, 1, 9))
    torch.testing.assert_close(restarted[:, :, :4], rotate(x[:, :, :4], 100.0))
    torch.testing.assert_close(restarted[:, :, 4:], rotate(x[:, :, 4:], 100.0))
