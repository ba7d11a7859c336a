"""`dice_loss`: Eq. 5 of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import FLOATING, check_choice, check_positive, check_same_shape, check_tensor


def dice_loss(
    masks: Tensor,
    targets: Tensor,
    *,
    eps: float = 1e-5,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    """Dice loss between predicted and true masks, one per instance (paper, Eq. 5).

    For each instance, with the sums over all its pixels::

        loss = 1 - 2 * sum(m * t) / (sum(m^2) + sum(t^2) + eps)

    Arithmetic is in float32, or in float64 if an argument is float64, also under autocast. The native backends copy
    non-contiguous tensors. Gradients flow to `masks`, and to `targets` if they are floating. The native backends have
    only first-order gradients, and a second derivative raises an error; the reference has gradients of any order.

    Args:
        masks: [K, ...] probabilities (after the sigmoid); float16, bfloat16, float32 or float64.
        targets: [K, ...] same shape; bool, uint8 (0 and 1, used as numbers) or any dtype of `masks`.
        eps: positive; makes the loss of an empty mask and an empty target defined.
        reduction: "mean" over instances (0 when K = 0), "sum", or "none".
        backend: "reference", "cpp", "cuda" or "triton"; None for automatic, see `condinst.backends.registry`.

    Returns:
        [] or, with reduction "none", [K]; float64 when an argument is float64, otherwise float32.

    Raises:
        TypeError: an argument is of another type or dtype.
        ValueError: a shape, `eps`, `reduction` or `backend` is out of range, or the backend cannot do the call.

    The result is the same from run to run and for any number of threads.
    """
    check_tensor("masks", masks, FLOATING, min_dims=2)
    check_tensor("targets", targets, (torch.bool, torch.uint8, *FLOATING))
    check_same_shape("targets", targets, "masks", masks)
    check_positive("eps", eps)
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    implementation = select("dice_loss", backend, masks, targets)
    return implementation(masks, targets, eps=eps, reduction=reduction)
