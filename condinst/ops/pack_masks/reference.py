"""`pack_masks` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pack_masks(masks: Tensor, *, threshold: float = 0.5) -> Tensor:
    """The definition of `condinst.ops.pack_masks`; arguments and result are described there."""
    bits = (masks > threshold if masks.is_floating_point() else masks != 0).flatten(1)  # [N, P]
    bits = F.pad(bits, (0, -bits.shape[1] % 64))  # [N, 64 W]
    places = torch.arange(64, device=masks.device)  # [64]
    return (bits.unflatten(1, (bits.shape[1] // 64, 64)).long() << places).sum(dim=2)  # [N, W]
