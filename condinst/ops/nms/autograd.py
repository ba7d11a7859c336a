"""`nms` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

from condinst.ops.common.suppression import KeptDetections
from condinst.ops.common.suppression_autograd import suppression

NOT_IN_TRITON = "it is a sequential loop over sorted lists of different lengths, which suits a thread and not a block"


def register(namespace: str) -> Callable[..., KeptDetections]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    return suppression(namespace, "nms")
