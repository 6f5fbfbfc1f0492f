"""Rotary position embedding (Su et al., arXiv 2104.09864), halves rotated against each other."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, base: float, positions: Tensor | None = None) -> Tensor:
    """Turn the pairs ``(x[..., i], x[..., i + dim/2])`` of position t by ``t * base^(-2i/dim)`` radians.

    Args:
        x: [..., L, dim], dim even.
        positions: the position t of every index along L, of a shape that broadcasts with ``x[..., 0]``; the index
            itself if left out.
        base: the wavelength of the slowest pair is about ``2 pi base``.

    Returns:
        The rotated tensor, shape and dtype of ``x``; the angles are taken in float32 whatever the dtype.
    """
    length, dim = x.shape[-2:]
    # Made anew each time: a buffer would be rounded by .half() and would cap the length.
    exponent = torch.arange(0, dim, 2, device=x.device, dtype=torch.float32) / dim
    if positions is None:
        positions = torch.arange(length, device=x.device)
    angle = positions.to(torch.float32)[..., None] * base**-exponent
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    cos, sin = angle.cos().to(wide.dtype), angle.sin().to(wide.dtype)
    first, second = wide.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
