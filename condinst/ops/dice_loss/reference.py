"""`dice_loss` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.ops.common.reduction import reduce_losses


def dice_loss(masks: Tensor, targets: Tensor, *, eps: float = 1e-5, reduction: str = "mean") -> Tensor:
    """The definition of `condinst.ops.dice_loss`; arguments and result are described there."""
    dtype = torch.float64 if torch.float64 in (masks.dtype, targets.dtype) else torch.float32
    m = masks.to(dtype).flatten(1)  # [K, N]
    t = targets.to(dtype).flatten(1)  # [K, N]
    overlap = (m * t).sum(dim=1)  # [K]
    total = (m * m).sum(dim=1) + (t * t).sum(dim=1) + eps  # [K]
    return reduce_losses(1 - 2 * overlap / total, reduction)  # [K] or []
