"""`dice_loss` as a PyTorch operator: shapes for the compiler, the gradient, and what autocast does with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.reference.reduction import reduce_losses

from . import library


def dice_loss(masks: Tensor, targets: Tensor, *, eps: float = 1e-5, reduction: str = "mean") -> Tensor:
    """`condinst.ops.dice_loss` by the operator library."""
    losses, _ = torch.ops.condinst.dice_loss(masks, targets, eps)  # [K], [K, 2]
    return reduce_losses(losses, reduction)


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


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
    masks, targets, sums = ctx.saved_tensors
    # The loss is symmetric in its two arguments, so one kernel gives both gradients.
    backward = torch.ops.condinst.dice_loss_backward
    grad_masks = backward(grad, sums, masks, targets) if ctx.needs_input_grad[0] else None
    grad_targets = backward(grad, sums, targets, masks) if ctx.needs_input_grad[1] else None
    return grad_masks, grad_targets, None


def _double_backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
    raise NotImplementedError("dice_loss: the native backends have no second derivative; use backend='reference'")


_unavailable = library.reason_against("dice_loss")
if _unavailable is None:
    torch.library.register_fake("condinst::dice_loss", _fake)
    torch.library.register_fake("condinst::dice_loss_backward", _fake_backward)
    torch.library.register_autograd("condinst::dice_loss", _backward, setup_context=_setup_context)
    torch.library.register_autograd("condinst::dice_loss_backward", _double_backward)
    # the kernels compute in float32 from half precision as it is, so that a cast would only copy the masks
    library.register_autocast_as_given("dice_loss")

library.register_native("dice_loss", dice_loss)
