"""The kernels of `condinst.ops.dice_loss` in Triton; formulas as in common/dice.h.

All arrays are contiguous; bool targets are passed as uint8. "Acc" is float64 if masks or targets are, else float32.
"""

import triton
import triton.language as tl

from ..common.loss_triton import dice_gradient, dice_terms


@triton.jit
def dice_loss_sums(masks, targets, partial, size, num_chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Program (mask, chunk): overlap and squares of CHUNK elements.

    The caller sums `partial` [K, num_chunks, 2] Acc over the chunks.
    """
    mask = (tl.program_id(0) // num_chunks).to(tl.int64)
    first = (tl.program_id(0) % num_chunks).to(tl.int64) * CHUNK
    acc = partial.dtype.element_ty
    overlap = tl.zeros([BLOCK], dtype=acc)
    squares = tl.zeros([BLOCK], dtype=acc)
    for start in range(0, CHUNK, BLOCK):
        element = first + start + tl.arange(0, BLOCK)
        inside = element < size
        m = tl.load(masks + mask * size + element, mask=inside, other=0).to(acc)
        t = tl.load(targets + mask * size + element, mask=inside, other=0).to(acc)
        products, both_squares = dice_terms(m, t)
        overlap += products
        squares += both_squares
    sums = partial + 2 * tl.program_id(0).to(tl.int64)
    tl.store(sums, tl.sum(overlap))
    tl.store(sums + 1, tl.sum(squares))


@triton.jit
def dice_loss_backward(grad_losses, sums, masks, targets, grad_masks, size, num_blocks, BLOCK: tl.constexpr):
    """Program (mask, block): the gradient of BLOCK elements."""
    mask = (tl.program_id(0) // num_blocks).to(tl.int64)
    element = (tl.program_id(0) % num_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    acc = sums.dtype.element_ty
    scale, ratio = dice_gradient(tl.load(grad_losses + mask), tl.load(sums + 2 * mask), tl.load(sums + 2 * mask + 1))
    m = tl.load(masks + mask * size + element, mask=inside, other=0).to(acc)
    t = tl.load(targets + mask * size + element, mask=inside, other=0).to(acc)
    grad = scale * (ratio * m - t)
    tl.store(grad_masks + mask * size + element, grad.to(grad_masks.dtype.element_ty), mask=inside)
