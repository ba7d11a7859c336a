"""The ``reduction=`` argument of the losses."""

from __future__ import annotations

from torch import Tensor


def reduce_losses(losses: Tensor, reduction: str) -> Tensor:
    """Reduce K losses. For K = 0 the mean and the sum are 0 and stay connected to the graph.

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
