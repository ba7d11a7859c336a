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

    Arithmetic is in float32, or in float64 when an argument is float64, also under autocast. Non-contiguous tensors are
    copied first by the native backends. Gradients flow to `masks`, and to `targets` when these are floating. The native
    backends have first-order gradients only and say so when asked for a second; the reference has all of them.

    Args:
        masks: [K, ...] probabilities (after the sigmoid); float16, bfloat16, float32 or float64.
        targets: [K, ...] same shape; bool, uint8 (used as numbers: 0 and 1 are meant) or any dtype of `masks`.
        eps: positive; keeps the loss of an empty mask on an empty target defined.
        reduction: "mean" over instances (0 when K = 0), "sum", or "none".
        backend: "reference", "cpp", "cuda" or "triton"; None chooses, see `condinst.backends.registry`.

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
