"""`pack_masks`: packs 64 pixels of a binary mask into one integer."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import FLOATING, check_dims, check_number, check_sides, check_tensor


def pack_masks(masks: Tensor, *, threshold: float = 0.5, backend: str | None = None) -> Tensor:
    """Pack masks into bits: pixel p, row-major, is bit ``p % 64`` of word ``p // 64``; bits after the last pixel are 0.

    Args:
        masks: [N, H, W] bool or uint8, where any number but 0 is set; or floating (logits, probabilities).
        threshold: a pixel of a floating mask is set if its value is above the threshold, rounded to the dtype of the
            mask. NaN is not set.
        backend: see `condinst.backends.registry`.

    Returns:
        [N, ceil(H * W / 64)] int64.

    Raises:
        TypeError: wrong dtype.
        ValueError: not three dimensions, or a threshold that is not finite.
    """
    check_tensor("masks", masks, (torch.bool, torch.uint8, *FLOATING))
    check_dims("masks", masks, 3)
    check_sides("masks", masks)
    check_number("threshold", threshold)
    with torch.no_grad(), no_tangents():
        return select("pack_masks", backend, masks)(masks, threshold=threshold)
