"""Launches the Triton kernels of losses, which give losses and gradients in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from condinst.backends.launch import launch


def forward(
    kernel: Any,
    tensors: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    *,
    reduce: bool,
    with_grad: bool,
    chunk: int,
    **constants: Any,
) -> tuple[Tensor, Tensor]:
    """The losses or their sum, and the gradient of the sum, or an empty tensor without it.

    Args:
        kernel: with the arguments that centerness_loss_triton.py describes.
        tensors: contiguous; the first is the argument that has the gradient.
        shape: of the losses.
        dtype: of the losses.
        reduce: the sum is wanted.
        with_grad: so is the gradient.
        chunk: losses of one program: fixed, so that the result does not depend on the machine.
        **constants: of the kernel.
    """
    argument = tensors[0]
    count = math.prod(shape)
    chunks = -(-count // chunk)
    out = argument.new_empty((chunks,) if reduce else shape, dtype=dtype)
    grad = torch.empty_like(argument) if with_grad else argument.new_empty(0)
    wanted = {"EACH": not reduce, "WITH_LOSS": True, "WITH_GRAD": with_grad}
    launch(kernel, chunks, *tensors, out, out, grad, count, CHUNK=chunk, SCALE=0, **wanted, **constants)
    return (out.sum(dtype=torch.float64).to(dtype) if reduce else out), grad


def backward(
    kernel: Any, grad_loss: Tensor, tensors: Sequence[Tensor], count: int, *, chunk: int, **constants: Any
) -> Tensor:
    """The gradient of the first of the (contiguous) tensors.

    Args:
        kernel: as above.
        grad_loss: one number, or one for each loss.
        tensors: as above.
        count: of losses.
        chunk: as above.
        **constants: of the kernel.
    """
    grad = torch.empty_like(tensors[0])
    grad_loss = grad_loss.contiguous()
    wanted = {"EACH": False, "WITH_LOSS": False, "WITH_GRAD": True}
    scale = 2 if grad_loss.dim() else 1
    # the kernel writes no losses; what stands in their place says in which type it computes
    chunks = -(-count // chunk)
    launch(kernel, chunks, *tensors, grad_loss, grad_loss, grad, count, CHUNK=chunk, SCALE=scale, **wanted, **constants)
    return grad
