"""`mask_centers`: the mass centres that decide which locations are positive (section 3.2, numerics 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import MOST_INTEGER, check_dims, check_sides, check_tensor


def mask_centers(masks: Tensor, *, backend: str | None = None) -> Tensor:
    """Mean pixel index of each mask: the centre is ``(sum(x * m), sum(y * m)) / sum(m)``, without half a pixel added.

    Args:
        masks: [G, H, W] bool or uint8 of 0 and 1.
        backend: see `condinst.backends.registry`.

    Returns:
        [G, 2] float32 (x, y) in pixels; NaN for an empty mask.

    Raises:
        TypeError: wrong dtype.
        ValueError: not three dimensions, or masks so large that int64 does not hold the sums of their positions.
    """
    check_tensor("masks", masks, (torch.bool, torch.uint8))
    check_dims("masks", masks, 3)
    if not torch.compiler.is_compiling() and not 0 < masks.numel() <= 1 << 27:  # 255 * 2^27 * 2^27 is below 2^63
        check_sides("masks", masks)
        _, height, width = masks.shape
        if 255 * height * width * max(height, width) > MOST_INTEGER:
            raise ValueError(f"masks: expected sums of positions below 2^63, got shape {list(masks.shape)}")
    return select("mask_centers", backend, masks)(masks)
