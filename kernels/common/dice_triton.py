"""The formulas of common/dice.h in Triton, for `dice_loss` and `dynamic_mask_loss`."""

import triton


@triton.jit
def dice_terms(m, t):
    """What is summed over the pixels: m * t for the overlap, m^2 + t^2 for the total."""
    return m * t, m * m + t * t


@triton.jit
def dice_gradient(grad_loss, overlap, total):
    """(scale, ratio) of d loss / d m_i = scale * (ratio * m_i - t_i)."""
    return 2 * grad_loss / total, 2 * overlap / total
