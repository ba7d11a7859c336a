"""`mask_nms` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

from condinst.reference.suppression import KeptDetections

from .suppression import suppression


def adapt(namespace: str) -> Callable[..., KeptDetections]:
    """Register the rules; returns a function with the signature of the reference."""
    return suppression(namespace, "mask_nms")
