"""Scalar functions the specs can use that Triton has no name for. Copied into a generated module when it calls them."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


ONE_INSTRUCTION = tl.constexpr(False)  # a generated module has its own


@triton.jit
def quick_tanh(x):
    """Of CUDA's one instruction, whose relative error is up to 2^-11; elsewhere exact."""
    if ONE_INSTRUCTION:
        return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)
    else:
        return tanh(x)


@triton.jit
def quick_sigmoid(x):
    return tl.fma(quick_tanh(0.5 * x), 0.5, 0.5)


@triton.jit
def tanh(x):
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


# Unlike tl.maximum and tl.minimum these three pass a NaN on: a NaN score is never selected, so it must stay one.


@triton.jit
def relu(x):
    if ONE_INSTRUCTION:
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    else:
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
