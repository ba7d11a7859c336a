"""`giou_loss`: the box loss (Rezatofighi et al., 2019) on distances to the box sides."""

from __future__ import annotations

from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import (
    FLOATING,
    check_choice,
    check_constant,
    check_flag,
    check_same_device,
    check_same_shape,
    check_shape,
    check_tensor,
)


def giou_loss(
    predicted: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    smooth: bool = True,
    reduction: str = "sum",
    backend: str | None = None,
) -> Tensor:
    """Generalised IoU loss between boxes, each as its distances from a common location.

    With the areas I of the intersection, U of the union and G of the smallest box round both::

        iou = (I + 1) / (U + 1) if smooth else I / U
        loss = weight * (1 - (iou - (G - U) / G))

    Args:
        predicted: [N, 4] distances (l, t, r, b), at least 0, floating.
        targets: [N, 4] the same for the true box, above 0: if both boxes have no area, the loss is NaN.
        weights: [N] floating, or None for 1. Neither targets nor weights have a gradient.
        smooth: True for the smoothed IoU of AdelaiDet, False for the textbook IoU.
        reduction: "sum", "mean" (over N; 0 for N = 0) or "none".
        backend: see `condinst.backends.registry`.

    Returns:
        [] or, with "none", [N]; float64 if `predicted` or `targets` are, otherwise float32.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit, or an unknown reduction.
        NotImplementedError: ``torch.func`` or forward-mode AD differentiates by `targets` or `weights`.
    """
    check_tensor("predicted", predicted, FLOATING, min_dims=2)
    check_shape("predicted", predicted, (predicted.shape[0], 4))
    check_tensor("targets", targets, FLOATING)
    check_same_shape("targets", targets, "predicted", predicted)
    if weights is not None:
        check_tensor("weights", weights, FLOATING)
        check_shape("weights", weights, (predicted.shape[0],))
        check_same_device("weights", weights, "predicted", predicted)
        check_constant("weights", weights)
        weights = weights.detach()
    check_flag("smooth", smooth)
    check_choice("reduction", reduction, ("sum", "mean", "none"))
    check_constant("targets", targets)
    targets = targets.detach()
    implementation = select("giou_loss", backend, predicted, targets)
    return implementation(predicted, targets, weights, smooth=smooth, reduction=reduction)
