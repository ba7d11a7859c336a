"""`mask_centers` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def mask_centers(masks: Tensor) -> Tensor:
        return ops.mask_centers(masks)

    register_operator(namespace, "mask_centers", fake=_fake)
    return mask_centers


def _fake(masks: Tensor) -> Tensor:
    return masks.new_empty(masks.shape[0], 2, dtype=torch.float32)
