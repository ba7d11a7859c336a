"""The kernel of `condinst.ops.centerness_loss` in Triton; formulas as in centerness_loss.h.

Arguments as in common/loss_triton.py.
"""

import triton
import triton.language as tl

from ..common.loss_triton import factors, logistic, write_losses


@triton.jit
def centerness_losses(
    logits,
    targets,
    grad_loss,
    out,
    grad,
    count,
    CHUNK: tl.constexpr,
    SCALE: tl.constexpr,
    EACH: tl.constexpr,
    WITH_LOSS: tl.constexpr,
    WITH_GRAD: tl.constexpr,
):
    """A program per chunk of logits."""
    index = tl.program_id(0).to(tl.int64) * CHUNK + tl.arange(0, CHUNK)
    inside = index < count
    y = tl.load(targets + index, mask=inside, other=0)
    x = tl.load(logits + index, mask=inside, other=0).to(y.dtype)
    p, complement, tail = logistic(x)
    if WITH_LOSS:
        above = tl.where(x < 0, 0, x)
        below = tl.where(x < 0, -x, 0)
        write_losses(y * below + (1 - y) * above + tail, index, inside, out, EACH)
    if WITH_GRAD:
        gradient = ((1 - y) * p - y * complement) * factors(grad_loss, index, inside, SCALE)
        tl.store(grad + index, gradient.to(grad.dtype.element_ty), mask=inside)
