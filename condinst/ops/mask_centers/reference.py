"""`mask_centers` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_centers(masks: Tensor) -> Tensor:
    """The definition of `condinst.ops.mask_centers`; arguments and result are described there."""
    columns = masks.sum(dim=1, dtype=torch.float64)  # [G, W] set pixels per column
    rows = masks.sum(dim=2, dtype=torch.float64)  # [G, H]
    x = columns @ torch.arange(masks.shape[2], dtype=torch.float64, device=masks.device)  # [G]
    y = rows @ torch.arange(masks.shape[1], dtype=torch.float64, device=masks.device)  # [G]
    # An empty mask gives 0 / 0 = NaN, which matches no location.
    return (torch.stack([x, y], dim=1) / rows.sum(dim=1, keepdim=True)).float()  # [G, 2]
