"""`centerness_loss` as a PyTorch operator; its targets have the dtype of the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.ops.common.one_pass import one_pass_loss


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    call = one_pass_loss(namespace, "centerness_loss", num_tensors=2, loss_dims=1, loss_dtype=_loss_dtype)

    def centerness_loss(logits: Tensor, targets: Tensor, *, reduction: str = "sum") -> Tensor:
        return call(logits, targets.to(_loss_dtype(logits, targets)), reduction=reduction)

    return centerness_loss


def _loss_dtype(logits: Tensor, targets: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
