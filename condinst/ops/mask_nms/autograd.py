"""`mask_nms` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

from condinst.ops.common.suppression import KeptDetections
from condinst.ops.common.suppression_autograd import suppression

NOT_IN_TRITON = (
    "it goes through sorted lists of different lengths one after the other, a thread's work and not a block's"
)


def register(namespace: str) -> Callable[..., KeptDetections]:
    """Register fake kernel and gradient in a namespace; returns a function with the signature of the reference."""
    return suppression(namespace, "mask_nms")
