"""`giou_loss` by a Triton kernel."""

from __future__ import annotations

from torch import Tensor

from condinst.backends.launch import kernels
from condinst.backends.triton import define
from condinst.ops.common import one_pass_triton as one_pass

CHUNK = 512
"""The number of boxes per program."""


def _tensors(predicted: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """All tensors, contiguous. If there are no weights, targets take their place and are not read there."""
    targets = targets.contiguous()
    return predicted.contiguous(), targets, targets if weights is None else weights.contiguous()


def _forward(
    predicted: Tensor, targets: Tensor, weights: Tensor | None, smooth: bool, reduce: bool, with_grad: bool
) -> tuple[Tensor, Tensor]:
    return one_pass.forward(
        kernels("giou_loss").giou_losses,
        _tensors(predicted, targets, weights),
        predicted.shape[:1],
        targets.dtype,
        reduce=reduce,
        with_grad=with_grad,
        chunk=CHUNK,
        SMOOTH=smooth,
        WEIGHTED=weights is not None,
    )


def _backward(grad_loss: Tensor, predicted: Tensor, targets: Tensor, weights: Tensor | None, smooth: bool) -> Tensor:
    return one_pass.backward(
        kernels("giou_loss").giou_losses,
        grad_loss,
        _tensors(predicted, targets, weights),
        predicted.shape[0],
        chunk=CHUNK,
        SMOOTH=smooth,
        WEIGHTED=weights is not None,
    )


define(
    "giou_loss(Tensor predicted, Tensor targets, Tensor? weights, bool smooth, bool reduce, bool with_grad) "
    "-> (Tensor loss, Tensor grad)",
    _forward,
)
define(
    "giou_loss_backward(Tensor grad_loss, Tensor predicted, Tensor targets, Tensor? weights, bool smooth) -> Tensor",
    _backward,
)
