"""`aligned_bilinear` in plain PyTorch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def aligned_bilinear(x: Tensor, factor: int) -> Tensor:
    """The definition of `condinst.ops.aligned_bilinear`; arguments and result are described there."""
    if factor == 1:
        return x
    height, width = x.shape[-2:]
    if x.numel() == 0:
        return x.repeat_interleave(factor, -2).repeat_interleave(factor, -1)  # keeps the graph
    flat = x.reshape(-1, 1, height, width)  # [N, 1, h, w]
    # Repeating the last row and column makes corner-aligned interpolation step by exactly 1 / factor.
    padded = F.pad(flat, (0, 1, 0, 1), mode="replicate")  # [N, 1, h+1, w+1]
    size = (height * factor + 1, width * factor + 1)
    fine = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)  # [N, 1, h*f+1, w*f+1]
    # Cell k belongs on pixel factor * k + factor // 2: shift by factor // 2, and repeat the first row and column.
    shift = factor // 2
    shifted = F.pad(fine, (shift, 0, shift, 0), mode="replicate")[..., : size[0] - 1, : size[1] - 1]
    return shifted.reshape(*x.shape[:-2], height * factor, width * factor)  # [..., h*f, w*f]
