"""Scores as unsigned integers in the same order, so that selection can count digits; 0: nobody may choose it."""

import triton
import triton.language as tl


@triton.jit
def rank_of(score):
    """The 32-bit rank of a float32 score: larger score, larger rank; NaN and infinities have rank 0."""
    score = tl.where(score == 0.0, 0.0, score)  # -0.0 and 0.0 are equal scores
    bits = score.to(tl.int32, bitcast=True)
    flipped = tl.where(bits < 0, ~bits, bits | -2147483648)
    finite = tl.abs(score) < float("inf")
    return tl.where(finite, flipped, 0)


@triton.jit
def score_of(rank):
    """The float32 score of a non-zero rank."""
    bits = tl.where(rank < 0, rank ^ -2147483648, ~rank)
    return bits.to(tl.float32, bitcast=True)
