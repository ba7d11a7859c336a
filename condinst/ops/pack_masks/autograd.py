"""`pack_masks` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def pack_masks(masks: Tensor, *, threshold: float = 0.5) -> Tensor:
        return ops.pack_masks(masks, threshold)

    register_operator(namespace, "pack_masks", fake=_fake)
    return pack_masks


def _fake(masks: Tensor, threshold: float) -> Tensor:
    num_masks, height, width = masks.shape
    return masks.new_empty(num_masks, (height * width + 63) // 64, dtype=torch.int64)
