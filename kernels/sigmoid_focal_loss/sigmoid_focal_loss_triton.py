"""The kernel of `condinst.ops.sigmoid_focal_loss` in Triton; formulas as in sigmoid_focal_loss.h.

Arguments as in common/loss_triton.py. Arguments that are the same in all calls of a model are constants.
"""

import triton
import triton.language as tl

from ..common.loss_triton import factors, logistic, write_losses


@triton.jit
def focal_losses(
    logits,
    labels,
    grad_loss,
    out,
    grad,
    count,
    NUM_CLASSES: tl.constexpr,
    ALPHA: tl.constexpr,
    GAMMA: tl.constexpr,
    CHUNK: tl.constexpr,
    SCALE: tl.constexpr,
    EACH: tl.constexpr,
    WITH_LOSS: tl.constexpr,
    WITH_GRAD: tl.constexpr,
):
    """A program per chunk of logits."""
    acc = out.dtype.element_ty
    first = tl.program_id(0).to(tl.int64) * CHUNK
    first_row = first // NUM_CLASSES
    # Within the chunk 32 bits are enough, and division by a constant is a multiplication.
    place = (first - first_row * NUM_CLASSES).to(tl.int32) + tl.arange(0, CHUNK)
    row = place // NUM_CLASSES
    index = first + tl.arange(0, CHUNK)
    inside = index < count
    label = tl.load(labels + first_row + row, mask=inside, other=-1)
    positive = label == place - row * NUM_CLASSES
    x = tl.load(logits + index, mask=inside, other=0).to(acc)

    z = tl.where(positive, -x, x)
    s, complement, tail = logistic(z)
    if GAMMA == 2:
        weighted = s * s
    elif GAMMA == 1:
        weighted = s
    elif GAMMA == 0:
        weighted = tl.full([CHUNK], 1, acc)
    else:
        weighted = tl.exp(GAMMA * (tl.where(z < 0, z, 0) - tail))
    weighted = tl.where(positive, ALPHA * weighted, (1 - ALPHA) * weighted)
    softplus = tl.where(z < 0, 0, z) + tail
    if WITH_LOSS:
        write_losses(weighted * softplus, index, inside, out, EACH)
    if WITH_GRAD:
        gradient = weighted * (GAMMA * complement * softplus + s)
        gradient = tl.where(positive, -gradient, gradient) * factors(grad_loss, index, inside, SCALE)
        tl.store(grad + index, gradient.to(grad.dtype.element_ty), mask=inside)
