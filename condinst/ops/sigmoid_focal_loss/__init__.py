"""`sigmoid_focal_loss`: the class loss (Lin et al., 2017, Eq. 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import (
    FLOATING,
    check_choice,
    check_dims,
    check_index_range,
    check_number,
    check_probability,
    check_same_device,
    check_shape,
    check_tensor,
)


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "sum",
    backend: str | None = None,
) -> Tensor:
    """Focal loss of independent per-class probabilities, from class indices rather than one-hot targets.

    For class c of row n, with t = 1 where ``labels[n] == c`` and p = sigmoid(logit)::

        loss = (alpha if t else 1 - alpha) * |t - p| ** gamma * BCE(p, t)

    Args:
        logits: [N, C] floating; computed in float32, or in float64 if they are float64.
        labels: [N] int64 in 0 .. C; C is background, a row without a target. On a GPU, so is any other number.
        alpha: weight of positives, in 0..1.
        gamma: focusing exponent, at least 0.
        reduction: "sum" over everything, "mean" over N * C (0 when that is 0), or "none".
        backend: see `condinst.backends.registry`.

    Returns:
        [] or, with "none", [N, C], in the dtype of the computation.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit, an unknown reduction, alpha or gamma out of range; on the CPU also a label
            out of range.
    """
    check_tensor("logits", logits, FLOATING)
    check_tensor("labels", labels, (torch.int64,))
    check_dims("logits", logits, 2)
    check_shape("labels", labels, (logits.shape[0],))
    check_same_device("labels", labels, "logits", logits)
    check_index_range("labels", labels, logits.shape[1] + 1)
    check_probability("alpha", alpha)
    check_number("gamma", gamma)
    if gamma < 0:
        raise ValueError(f"gamma: expected a finite number of at least 0, got {gamma}")
    check_choice("reduction", reduction, ("sum", "mean", "none"))
    implementation = select("sigmoid_focal_loss", backend, logits, labels)
    return implementation(logits, labels, alpha=alpha, gamma=gamma, reduction=reduction)
