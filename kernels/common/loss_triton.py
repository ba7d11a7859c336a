"""Functions that losses share in Triton.

`dice_loss` and `dynamic_mask_loss` use the formulas of dice.h in this file. `centerness_loss`, `giou_loss` and
`sigmoid_focal_loss` work on contiguous arrays. "Acc", the type of the computation, is that of `out`: float64 for
float64 losses, otherwise float32. Each of these losses has a single kernel for forward and backward, with these
arguments and constants::

    grad_loss   the factors of the gradients, Acc: none if SCALE is 0, one number if 1, a number per loss if 2
    out         Acc: the losses if EACH, otherwise the sum of each program; nothing without WITH_LOSS
    grad        of the type of the argument; nothing without WITH_GRAD
    CHUNK       losses of one program
"""

import triton
import triton.language as tl


@triton.jit
def logistic(x):
    """1 / (1 + e^-x), 1 / (1 + e^x) and log(1 + e^-|x|), precise for large positive and negative x."""
    power = tl.exp(-tl.abs(x))
    larger = 1 / (1 + power)
    smaller = power * larger
    if x.dtype == tl.float64:
        rounded = 1 + power  # its error cancels in the quotient
        tail = tl.where(rounded == 1, power, tl.log(rounded) * power / tl.where(rounded == 1, 1, rounded - 1))
    else:
        # 2 artanh(q), q in [0, 1/3]; a fast logarithm is imprecise near 1
        q = power / (2 + power)
        square = q * q
        series = 0.33333319832513 + square * (
            0.20003835452329463 + square * (0.14116977575001344 + square * 0.13433776651071558)
        )
        tail = 2 * (q + q * square * series)
    return tl.where(x < 0, smaller, larger), tl.where(x < 0, larger, smaller), tail


@triton.jit
def write_losses(loss, index, inside, out, EACH: tl.constexpr):
    """Each loss, or the sum of those inside."""
    if EACH:
        tl.store(out + index, loss, mask=inside)
    else:
        tl.store(out + tl.program_id(0), tl.sum(tl.where(inside, loss, 0)))


@triton.jit
def factors(grad_loss, index, inside, SCALE: tl.constexpr):
    """The factors of the gradients."""
    if SCALE == 2:
        return tl.load(grad_loss + index, mask=inside, other=0)
    elif SCALE == 1:
        return tl.load(grad_loss)
    else:
        return 1.0


@triton.jit
def dice_terms(m, t):
    """The summands of a pixel: m * t for the overlap, m^2 + t^2 for the total."""
    return m * t, m * m + t * t


@triton.jit
def dice_gradient(grad_loss, overlap, total):
    """(scale, ratio) of d loss / d m_i = scale * (ratio * m_i - t_i)."""
    return 2 * grad_loss / total, 2 * overlap / total
