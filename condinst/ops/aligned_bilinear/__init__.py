"""`aligned_bilinear`: the upsampling that keeps mask features and pixels aligned (numerics 1.9)."""

from __future__ import annotations

from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import FLOATING, check_sides, check_stride, check_tensor, check_upsampled


def aligned_bilinear(x: Tensor, factor: int, *, backend: str | None = None) -> Tensor:
    """Upsample by a whole factor so that cell k lands exactly on pixel ``factor * k + factor // 2``.

    Along each axis, for an input of n cells and an output of n * factor pixels::

        s(i) = clamp((i - factor // 2) / factor, 0, n - 1),  k = floor(s),  a = s - k
        out[i] = (1 - a) * x[k] + a * x[min(k + 1, n - 1)]

    This is neither of PyTorch's `align_corners` modes, and two steps of 2 do not equal one step of 4.

    Args:
        x: [..., h, w]; any floating dtype.
        factor: at least 1; 1 returns the input.
        backend: see `condinst.backends.registry`.

    Returns:
        [..., h * factor, w * factor], dtype of `x`.

    Raises:
        TypeError: `x` is not a floating tensor.
        ValueError: fewer than two dimensions, a factor below 1, or a result that is too large.
    """
    check_tensor("x", x, FLOATING, min_dims=2)
    check_sides("x", x)
    check_stride("factor", factor)
    check_upsampled("factor", x, factor)
    return select("aligned_bilinear", backend, x)(x, factor)
