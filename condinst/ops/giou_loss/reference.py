"""`giou_loss` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.ops.common.reduction import reduce_losses


def giou_loss(
    predicted: Tensor, targets: Tensor, weights: Tensor | None = None, *, smooth: bool = True, reduction: str = "sum"
) -> Tensor:
    """The definition of `condinst.ops.giou_loss`; arguments and result are described there."""
    wide = torch.float64 if torch.float64 in (predicted.dtype, targets.dtype) else torch.float32
    predicted, targets = predicted.to(wide), targets.to(wide)  # [N, 4]
    intersection = _area(torch.minimum(predicted, targets))  # [N]
    hull = _area(torch.maximum(predicted, targets))  # [N]
    union = _area(predicted) + _area(targets) - intersection  # [N]
    iou = (intersection + 1) / (union + 1) if smooth else intersection / union  # [N]
    loss = 1 - (iou - (hull - union) / hull)  # [N]
    if weights is not None:
        loss = loss * weights.to(wide)
    return reduce_losses(loss, reduction)  # [N] or []


def _area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(-1)  # [N] each
    return (left + right) * (top + bottom)  # [N]
