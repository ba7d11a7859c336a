"""`sigmoid_focal_loss` by a Triton kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends.launch import kernels
from condinst.backends.triton import define
from condinst.ops.common import one_pass_triton as one_pass

CHUNK = 2048
"""The number of logits per program."""


def _forward(
    logits: Tensor, labels: Tensor, alpha: float, gamma: float, reduce: bool, with_grad: bool
) -> tuple[Tensor, Tensor]:
    return one_pass.forward(
        kernels("sigmoid_focal_loss").focal_losses,
        (logits.contiguous(), labels.contiguous()),
        logits.shape,
        torch.promote_types(logits.dtype, torch.float32),
        reduce=reduce,
        with_grad=with_grad,
        chunk=CHUNK,
        NUM_CLASSES=logits.shape[1],
        ALPHA=alpha,
        GAMMA=gamma,
    )


def _backward(grad_loss: Tensor, logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    return one_pass.backward(
        kernels("sigmoid_focal_loss").focal_losses,
        grad_loss,
        (logits.contiguous(), labels.contiguous()),
        logits.numel(),
        chunk=CHUNK,
        NUM_CLASSES=logits.shape[1],
        ALPHA=alpha,
        GAMMA=gamma,
    )


define(
    "sigmoid_focal_loss(Tensor logits, Tensor labels, float alpha, float gamma, bool reduce, bool with_grad) "
    "-> (Tensor loss, Tensor grad)",
    _forward,
)
define(
    "sigmoid_focal_loss_backward(Tensor grad_loss, Tensor logits, Tensor labels, float alpha, float gamma) -> Tensor",
    _backward,
)
