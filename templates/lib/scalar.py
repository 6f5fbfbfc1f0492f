"""Scalar functions the specs can use that Triton has no name for. Copied into a generated module when it calls them."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


# Unlike tl.maximum and tl.minimum these three pass a NaN on: a NaN score is never selected, so it must stay one.


@triton.jit
def relu(x):
    return tl.where(x < 0.0, 0.0, x)


@triton.jit
def minimum(x, y):
    return tl.where((x <= y) | (x != x), x, y)


@triton.jit
def maximum(x, y):
    return tl.where((x >= y) | (x != x), x, y)


@triton.jit
def silu(x):
    return x / (1.0 + tl.exp(-x))


@triton.jit
def softplus(x):
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def power(x, c):
    return tl.exp2(tl.log2(x) * c)
