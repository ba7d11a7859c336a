"""`masks_to_image` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator

NOT_IN_TRITON = "it skips most pixels by bits in shared memory, which Triton hides"


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def masks_to_image(
        mask_logits: Tensor,
        *,
        mask_stride: int,
        network_size: tuple[int, int],
        output_size: tuple[int, int],
        threshold: float = 0.5,
    ) -> Tensor:
        return ops.masks_to_image(mask_logits, mask_stride, *network_size, *output_size, threshold)

    register_operator(namespace, "masks_to_image", fake=_fake)
    return masks_to_image


def _fake(
    mask_logits: Tensor,
    mask_stride: int,
    network_height: int,
    network_width: int,
    output_height: int,
    output_width: int,
    threshold: float,
) -> Tensor:
    return mask_logits.new_empty(mask_logits.shape[0], output_height, output_width, dtype=torch.bool)
