"""Computes dice losses from partial sums, for the Triton kernels of `dice_loss` and `dynamic_mask_loss`."""

from __future__ import annotations

import torch
from torch import Tensor


def losses_from_partial_sums(partial: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Add partial sums [K, chunks, 2] of overlap and squares in float64: losses [K] and sums [K, 2]."""
    sums = partial.sum(dim=1, dtype=torch.float64)  # [K, 2]
    sums[:, 1] += eps
    losses = 1 - 2 * sums[:, 0] / sums[:, 1]  # [K]
    return losses.to(partial.dtype), sums.to(partial.dtype)
