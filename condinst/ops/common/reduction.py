"""What ``reduction=`` means for a loss."""

from __future__ import annotations

from torch import Tensor


def reduce_losses(losses: Tensor, reduction: str) -> Tensor:
    """Reduce the losses of K things; the mean and the sum of nothing are 0 and keep the graph.

    Args:
        losses: [K].
        reduction: "none", "sum" or "mean".

    Returns:
        [K] for "none", otherwise [].
    """
    if reduction == "none":
        return losses
    total = losses.sum()
    return total / max(losses.shape[0], 1) if reduction == "mean" else total
