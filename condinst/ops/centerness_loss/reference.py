"""`centerness_loss` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.ops.common.reduction import reduce_losses


def centerness_loss(logits: Tensor, targets: Tensor, *, reduction: str = "sum") -> Tensor:
    """The definition of `condinst.ops.centerness_loss`; arguments and result are described there."""
    x = logits if logits.dtype == torch.float64 else logits.float()  # [N]
    losses = F.binary_cross_entropy_with_logits(x, targets.to(x.dtype), reduction="none")  # [N]
    return reduce_losses(losses, reduction)
