"""`mask_nms` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.reference.suppression import KeptDetections

from .registration import register_rules


def adapt(namespace: str) -> Callable[..., KeptDetections]:
    """Register the rules; returns a function with the signature of the reference."""
    ops = getattr(torch.ops, namespace)

    def mask_nms(
        masks: Tensor,
        scores: Tensor,
        labels: Tensor,
        image_indices: Tensor,
        *,
        iou_threshold: float,
        max_detections: int,
        num_images: int,
        capacity: int | None,
    ) -> KeptDetections:
        if capacity is None:
            capacity = max_detections or masks.shape[0]
        return KeptDetections(
            *ops.mask_nms(masks, scores, labels, image_indices, iou_threshold, max_detections, num_images, capacity)
        )

    register_rules(namespace, "mask_nms", fake=_fake)
    return mask_nms


def _fake(
    masks: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    iou_threshold: float,
    max_detections: int,
    num_images: int,
    capacity: int,
) -> tuple[Tensor, Tensor]:
    return labels.new_empty(num_images, capacity), labels.new_empty(num_images)
