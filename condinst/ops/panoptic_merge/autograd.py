"""`panoptic_merge` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.panoptic_merge import PanopticMaps

NOT_IN_TRITON = (
    "instances take their pixels in sequence, and it skips pixels by bits in shared memory, which Triton hides"
)


def register(namespace: str) -> Callable[..., PanopticMaps]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def panoptic_merge(
        mask_logits: Tensor,
        scores: Tensor,
        image_indices: Tensor,
        semantic_logits: Tensor,
        *,
        network_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
        num_thing_channels: int,
        mask_stride: int = 4,
        semantic_stride: int = 4,
        score_threshold: float = 0.45,
        mask_threshold: float = 0.5,
        overlap_threshold: float = 0.4,
        stuff_area_limit: int = 4096,
    ) -> PanopticMaps:
        maps = ops.panoptic_merge(
            mask_logits,
            scores,
            image_indices,
            semantic_logits,
            [side for size in network_sizes for side in size],
            [side for size in output_sizes for side in size],
            num_thing_channels,
            mask_stride,
            semantic_stride,
            score_threshold,
            mask_threshold,
            overlap_threshold,
            stuff_area_limit,
        )
        return PanopticMaps(*maps)

    register_operator(namespace, "panoptic_merge", fake=_fake)
    return panoptic_merge


def _fake(
    mask_logits: Tensor,
    scores: Tensor,
    image_indices: Tensor,
    semantic_logits: Tensor,
    network_sizes: list[int],
    output_sizes: list[int],
    num_thing_channels: int,
    mask_stride: int,
    semantic_stride: int,
    score_threshold: float,
    mask_threshold: float,
    overlap_threshold: float,
    stuff_area_limit: int,
) -> tuple[Tensor, Tensor, Tensor]:
    num_images, num_channels = semantic_logits.shape[:2]
    height = max(output_sizes[::2], default=0)
    width = max(output_sizes[1::2], default=0)
    return (
        semantic_logits.new_empty(num_images, height, width, dtype=torch.int32),
        image_indices.new_empty(mask_logits.shape[0]),
        image_indices.new_empty(num_images, num_channels - num_thing_channels),
    )
