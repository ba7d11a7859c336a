"""`dice_loss` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.common.reduction import reduce_losses


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def dice_loss(masks: Tensor, targets: Tensor, *, eps: float = 1e-5, reduction: str = "mean") -> Tensor:
        losses, _ = ops.dice_loss(masks, targets, eps)  # [K], [K, 2]
        return reduce_losses(losses, reduction)

    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        masks, targets, sums = ctx.saved_tensors
        # The loss is symmetric in its two arguments, so one kernel gives both gradients.
        grad_masks = ops.dice_loss_backward(grad, sums, masks, targets) if ctx.needs_input_grad[0] else None
        grad_targets = ops.dice_loss_backward(grad, sums, targets, masks) if ctx.needs_input_grad[1] else None
        return grad_masks, grad_targets, None

    register_operator(
        namespace,
        "dice_loss",
        fake=_fake,
        fake_backward=_fake_backward,
        setup_context=_setup_context,
        backward=backward,
    )
    return dice_loss


def _fake(masks: Tensor, targets: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if torch.float64 in (masks.dtype, targets.dtype) else torch.float32
    count = masks.shape[0]
    return masks.new_empty(count, dtype=dtype), masks.new_empty(count, 2, dtype=dtype)


def _fake_backward(grad_losses: Tensor, sums: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
    return masks.new_empty(masks.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
    masks, targets, _ = inputs
    sums = output[1]
    ctx.mark_non_differentiable(sums)
    ctx.save_for_backward(masks, targets, sums)
