"""`centerness_loss` by a Triton kernel."""

from __future__ import annotations

from torch import Tensor

from condinst.backends.launch import kernels
from condinst.backends.triton import define
from condinst.ops.common import one_pass_triton as one_pass

CHUNK = 1024
"""The number of logits per program."""


def _forward(logits: Tensor, targets: Tensor, reduce: bool, with_grad: bool) -> tuple[Tensor, Tensor]:
    return one_pass.forward(
        kernels("centerness_loss").centerness_losses,
        (logits.contiguous(), targets.contiguous()),
        logits.shape,
        targets.dtype,
        reduce=reduce,
        with_grad=with_grad,
        chunk=CHUNK,
    )


def _backward(grad_loss: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    kernel = kernels("centerness_loss").centerness_losses
    tensors = (logits.contiguous(), targets.contiguous())
    return one_pass.backward(kernel, grad_loss, tensors, logits.numel(), chunk=CHUNK)


define(
    "centerness_loss(Tensor logits, Tensor targets, bool reduce, bool with_grad) -> (Tensor loss, Tensor grad)",
    _forward,
)
define("centerness_loss_backward(Tensor grad_loss, Tensor logits, Tensor targets) -> Tensor", _backward)
