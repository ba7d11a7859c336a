"""The kernel of `condinst.ops.giou_loss` in Triton; formulas as in giou_loss.h.

Arguments as in common/loss_triton.py.
"""

import triton
import triton.language as tl

from ..common.loss_triton import factors, write_losses


@triton.jit
def gradient_share(p, t):
    """The share of p in the gradient of the minimum of p and t, which is a half if they are equal."""
    return tl.where(p == t, 0.5, tl.where(p < t, 1.0, 0.0)).to(p.dtype)


@triton.jit
def extents(left, top, right, bottom):
    """Width and height."""
    return left + right, top + bottom


@triton.jit
def giou_losses(
    predicted,
    targets,
    weights,
    grad_loss,
    out,
    grad,
    count,
    SMOOTH: tl.constexpr,
    WEIGHTED: tl.constexpr,
    CHUNK: tl.constexpr,
    SCALE: tl.constexpr,
    EACH: tl.constexpr,
    WITH_LOSS: tl.constexpr,
    WITH_GRAD: tl.constexpr,
):
    """A program per chunk of boxes. `weights` is not read unless WEIGHTED."""
    acc = targets.dtype.element_ty
    index = tl.program_id(0).to(tl.int64) * CHUNK + tl.arange(0, CHUNK)
    inside = index < count
    p = predicted + 4 * index
    p_l = tl.load(p, mask=inside, other=1).to(acc)
    p_t = tl.load(p + 1, mask=inside, other=1).to(acc)
    p_r = tl.load(p + 2, mask=inside, other=1).to(acc)
    p_b = tl.load(p + 3, mask=inside, other=1).to(acc)
    t = targets + 4 * index
    t_l = tl.load(t, mask=inside, other=1)
    t_t = tl.load(t + 1, mask=inside, other=1)
    t_r = tl.load(t + 2, mask=inside, other=1)
    t_b = tl.load(t + 3, mask=inside, other=1)
    weight = tl.load(weights + index, mask=inside, other=0) if WEIGHTED else 1.0

    p_width, p_height = extents(p_l, p_t, p_r, p_b)
    t_width, t_height = extents(t_l, t_t, t_r, t_b)
    # a comparison, which preserves NaN
    inner_width, inner_height = extents(
        tl.where(p_l > t_l, t_l, p_l),
        tl.where(p_t > t_t, t_t, p_t),
        tl.where(p_r > t_r, t_r, p_r),
        tl.where(p_b > t_b, t_b, p_b),
    )
    outer_width, outer_height = extents(
        tl.where(p_l > t_l, p_l, t_l),
        tl.where(p_t > t_t, p_t, t_t),
        tl.where(p_r > t_r, p_r, t_r),
        tl.where(p_b > t_b, p_b, t_b),
    )
    S: tl.constexpr = 1 if SMOOTH else 0
    intersection = inner_width * inner_height
    hull = outer_width * outer_height
    total = p_width * p_height + t_width * t_height - intersection
    iou = (intersection + S) / (total + S)
    if WITH_LOSS:
        loss = weight * (1 - (iou - (hull - total) / hull))
        write_losses(loss, index, inside, out, EACH)
    if WITH_GRAD:
        by_total = iou / (total + S) - 1 / hull
        by_intersection = -1 / (total + S) - by_total
        by_hull = total / (hull * hull)
        # The factor is applied last, as in the backward pass that scales the gradient.
        factor = factors(grad_loss, index, inside, SCALE)
        # The derivative of the area is the other extent.
        wide_total, wide_inner, wide_outer = by_total * p_height, by_intersection * inner_height, by_hull * outer_height
        high_total, high_inner, high_outer = by_total * p_width, by_intersection * inner_width, by_hull * outer_width
        share_l, share_t, share_r, share_b = (
            gradient_share(p_l, t_l),
            gradient_share(p_t, t_t),
            gradient_share(p_r, t_r),
            gradient_share(p_b, t_b),
        )
        kind = grad.dtype.element_ty
        to = grad + 4 * index
        grad_l = weight * (wide_total + share_l * wide_inner + (1 - share_l) * wide_outer) * factor
        grad_t = weight * (high_total + share_t * high_inner + (1 - share_t) * high_outer) * factor
        grad_r = weight * (wide_total + share_r * wide_inner + (1 - share_r) * wide_outer) * factor
        grad_b = weight * (high_total + share_b * high_inner + (1 - share_b) * high_outer) * factor
        tl.store(to, grad_l.to(kind), mask=inside)
        tl.store(to + 1, grad_t.to(kind), mask=inside)
        tl.store(to + 2, grad_r.to(kind), mask=inside)
        tl.store(to + 3, grad_b.to(kind), mask=inside)
