"""`sigmoid_focal_loss` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.ops.common.one_pass import one_pass_loss


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    call = one_pass_loss(namespace, "sigmoid_focal_loss", num_tensors=2, loss_dims=2, loss_dtype=_loss_dtype)

    def sigmoid_focal_loss(
        logits: Tensor, labels: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "sum"
    ) -> Tensor:
        return call(logits, labels, alpha, gamma, reduction=reduction)

    return sigmoid_focal_loss


def _loss_dtype(logits: Tensor, labels: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
