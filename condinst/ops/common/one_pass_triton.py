"""Launches the Triton kernels of losses, which compute losses and gradients in one pass."""

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
    """The losses or their sum, and the gradient of the sum or, without `with_grad`, an empty tensor.

    Args:
        kernel: a kernel with the arguments that centerness_loss_triton.py describes.
        tensors: contiguous; the first is the argument that has the gradient.
        shape: shape of the losses.
        dtype: dtype of the losses.
        reduce: whether to compute the sum.
        with_grad: whether to compute the gradient.
        chunk: number of losses of one program: fixed, so that the result does not depend on the machine.
        **constants: constants of the kernel.
    """
    argument = tensors[0]
    count = math.prod(shape)
    chunks = -(-count // chunk)
    out = argument.new_empty((chunks,) if reduce else shape, dtype=dtype)
    grad = torch.empty_like(argument) if with_grad else argument.new_empty(0)
    outputs = {"EACH": not reduce, "WITH_LOSS": True, "WITH_GRAD": with_grad}
    launch(kernel, chunks, *tensors, out, out, grad, count, CHUNK=chunk, SCALE=0, **outputs, **constants)
    return (out.sum(dtype=torch.float64).to(dtype) if reduce else out), grad


def backward(
    kernel: Any, grad_loss: Tensor, tensors: Sequence[Tensor], count: int, *, chunk: int, **constants: Any
) -> Tensor:
    """The gradient of the first of the (contiguous) tensors.

    Args:
        kernel: as above.
        grad_loss: one number, or one number per loss.
        tensors: as above.
        count: number of losses.
        chunk: as above.
        **constants: constants of the kernel.
    """
    grad = torch.empty_like(tensors[0])
    grad_loss = grad_loss.contiguous()
    outputs = {"EACH": False, "WITH_LOSS": False, "WITH_GRAD": True}
    scale = 2 if grad_loss.dim() else 1
    # The kernel writes no losses here; the argument in their place only sets the type of the computation.
    chunks = -(-count // chunk)
    sources = (*tensors, grad_loss, grad_loss)
    launch(kernel, chunks, *sources, grad, count, CHUNK=chunk, SCALE=scale, **outputs, **constants)
    return grad
