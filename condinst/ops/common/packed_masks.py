"""Packed masks, the input of `mask_nms` and `matrix_nms`."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.ops.pack_masks import pack_masks

from .checks import check_dims, check_tensor


def as_packed(masks: Tensor, backend: str | None) -> Tensor:
    """Check the masks of `mask_nms` or `matrix_nms`, bool [N, H, W] or packed [N, W], and return them packed."""
    check_tensor("masks", masks, (torch.bool, torch.int64))
    if masks.dtype == torch.bool:
        return pack_masks(masks, backend=backend)
    check_dims("masks", masks, 2)
    return masks
