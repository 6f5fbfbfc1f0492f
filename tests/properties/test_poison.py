"""Memory that nobody wrote is seen, in forward and backward passes alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gsa_dsl.testing.poison import PoisonedMemory


class Forgetful(torch.autograd.Function):
    """Writes half of its output, and half of its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        out[:2] = x[:2]
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> Tensor:
        dx = dout.new_empty(dout.shape)
        dx[:2] = dout[:2]
        return dx


def test_what_is_not_written_is_nan() -> None:
    x = torch.ones(4, requires_grad=True)
    before = torch.empty, Tensor.new_empty
    with PoisonedMemory():
        out = Forgetful.apply(x)  # type: ignore[no-untyped-call]
        torch.autograd.backward(out, torch.ones(4))
        assert torch.equal(torch.empty(3, dtype=torch.int32), torch.ones(3, dtype=torch.int32))
        assert torch.empty_strided((2, 2), (2, 1)).isnan().all()
    assert out.isnan().tolist() == [False, False, True, True]
    assert x.grad is not None
    assert x.grad.isnan().tolist() == [False, False, True, True]
    assert (torch.empty, Tensor.new_empty) == before
