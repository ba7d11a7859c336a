"""`dice_loss` by Triton kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends.launch import as_bytes, kernels, launch
from condinst.backends.triton import define
from condinst.ops.common.dice_triton import losses_from_partial_sums

CHUNK = 16384
"""Elements that a program sums: fixed, so that the result does not depend on the machine."""

BLOCK = 1024


def _forward(masks: Tensor, targets: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if torch.float64 in (masks.dtype, targets.dtype) else torch.float32
    masks, targets = masks.contiguous(), as_bytes(targets)
    num_masks = masks.shape[0]
    size = masks[0].numel() if num_masks else 0
    chunks = -(-size // CHUNK)
    partial = masks.new_empty(num_masks, chunks, 2, dtype=dtype)
    kernel = kernels("dice_loss").dice_loss_sums
    launch(kernel, num_masks * chunks, masks, targets, partial, size, chunks, CHUNK=CHUNK, BLOCK=BLOCK)
    return losses_from_partial_sums(partial, eps)


def _backward(grad_losses: Tensor, sums: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
    masks, targets = masks.contiguous(), as_bytes(targets)
    grad_losses, sums = grad_losses.contiguous(), sums.contiguous()
    grad_masks = torch.empty_like(masks)
    num_masks = masks.shape[0]
    size = masks[0].numel() if num_masks else 0
    blocks = -(-size // BLOCK)
    kernel = kernels("dice_loss").dice_loss_backward
    launch(kernel, num_masks * blocks, grad_losses, sums, masks, targets, grad_masks, size, blocks, BLOCK=BLOCK)
    return grad_masks


define("dice_loss(Tensor masks, Tensor targets, float eps) -> (Tensor losses, Tensor sums)", _forward)
define("dice_loss_backward(Tensor grad_losses, Tensor sums, Tensor masks, Tensor targets) -> Tensor", _backward)
