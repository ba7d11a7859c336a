"""`sigmoid_focal_loss` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.ops.common.reduction import reduce_losses


def sigmoid_focal_loss(
    logits: Tensor, labels: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "sum"
) -> Tensor:
    """The definition of `condinst.ops.sigmoid_focal_loss`; arguments and result are described there."""
    x = logits if logits.dtype == torch.float64 else logits.float()  # [N, C]
    classes = torch.arange(x.shape[1], device=x.device)  # [C]
    targets = (labels[:, None] == classes).to(x.dtype)  # [N, C]; all zero for background
    p = x.sigmoid()  # [N, C]
    p_true = p * targets + (1 - p) * (1 - targets)  # [N, C] probability of the right answer
    weight = alpha * targets + (1 - alpha) * (1 - targets)  # [N, C]
    loss = weight * (1 - p_true) ** gamma * F.binary_cross_entropy_with_logits(x, targets, reduction="none")
    return loss if reduction == "none" else reduce_losses(loss.flatten(), reduction)  # [N, C] or []
