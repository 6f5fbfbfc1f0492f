"""Known answers from FlexAttention, run in eager mode, for every variant that is a mask or a change of the score."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import gsa_dsl
from gsa_dsl.testing.tiles import small_tiles

HEADS, KV_HEADS, DIM, LENGTH = 4, 2, 16, 37
DOCUMENTS = torch.tensor([[0] * 9 + [3] * 1 + [1] * 16 + [7] * 11, [5] * 30 + [2] * 7])
Mask = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def causal(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return s <= t


def window_with_sinks(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return (s <= t) & ((s < 3) | (t - s < 6))


def documents(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return (s <= t) & (DOCUMENTS[b, t] == DOCUMENTS[b, s])


def both_ways(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return (t - s).abs() < 6


def softcap(score: Tensor, b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return 3 * torch.tanh(score / 3)


def alibi(score: Tensor, b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return score - torch.exp2(-8 * (h + 1) / HEADS) * (t - s)


@dataclass(frozen=True)
class Known:
    """A spec's clauses beside the mask and the change of the score that FlexAttention is given."""

    clauses: str
    mask: Mask
    score: Score | None = None

    @property
    def packed(self) -> bool:
        return "documents" in self.clauses


KNOWN = {
    "causal": Known("causal", causal),
    "window with sinks": Known("causal  always first 3, last 6", window_with_sinks),
    "both ways": Known("full  always last 6", both_ways),
    "documents": Known("causal  documents", documents),
    "softcap": Known("causal  logit[t, s] = 3 * tanh(q[t] . k[s] / sqrt(head_dim) / 3)", causal, softcap),
    "alibi": Known("causal  logit[t, s] = q[t] . k[s] / sqrt(head_dim) - slope[h] * distance", causal, alibi),
    "window in documents": Known(
        "causal  documents  always last 6", lambda b, h, t, s: documents(b, h, t, s) & (t - s < 6)
    ),
}


@pytest.mark.parametrize("backend", ["torch", "interpret"])
@pytest.mark.parametrize("name", KNOWN)
def test_flex_attention_says_the_same(name: str, backend: str, tmp_path: Path) -> None:
    known = KNOWN[name]
    attention = gsa_dsl.compile(
        f"attention known {{ {known.clauses} }}",
        heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=DIM,
        backend=backend,
        config=small_tiles(HEADS, KV_HEADS),
        cache_dir=tmp_path,
    )
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn((2, heads, LENGTH, DIM), generator=generator) for heads in (HEADS, KV_HEADS, KV_HEADS))
    output, aux = attention(q, k, v, documents=DOCUMENTS if known.packed else None, return_aux=True)
    expected, lse = _flex(known, q, k, v)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(aux.lse, lse, rtol=1e-5, atol=2e-6)


def test_it_can_tell_a_mask_from_another() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn((2, heads, LENGTH, DIM), generator=generator) for heads in (HEADS, KV_HEADS, KV_HEADS))
    results = [_flex(known, q, k, v)[0] for known in KNOWN.values()]
    assert all(not torch.allclose(a, b, atol=1e-3) for i, a in enumerate(results) for b in results[:i])


def _flex(known: Known, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    mask = create_block_mask(known.mask, 2, HEADS, LENGTH, LENGTH, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that eager mode is slow
        found = flex_attention(q, k, v, score_mod=known.score, block_mask=mask, enable_gqa=True, return_lse=True)
    output, lse = found
    return output, lse
