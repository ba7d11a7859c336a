"""`giou_loss` as a PyTorch operator; its targets and weights have the dtype of the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.ops.common.one_pass import one_pass_loss


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    call = one_pass_loss(namespace, "giou_loss", num_tensors=3, loss_dims=1, loss_dtype=_loss_dtype)

    def giou_loss(
        predicted: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        *,
        smooth: bool = True,
        reduction: str = "sum",
    ) -> Tensor:
        dtype = _loss_dtype(predicted, targets, weights)
        weights = None if weights is None else weights.to(dtype)
        return call(predicted, targets.to(dtype), weights, smooth, reduction=reduction)

    return giou_loss


def _loss_dtype(predicted: Tensor, targets: Tensor, weights: Tensor | None) -> torch.dtype:
    return torch.float64 if torch.float64 in (predicted.dtype, targets.dtype) else torch.float32
