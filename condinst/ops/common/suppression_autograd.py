"""Registration of `nms` and `mask_nms` as PyTorch operators, which differ only in the candidates that they compare."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator

from .suppression import KeptDetections


def suppression(namespace: str, op: str) -> Callable[..., KeptDetections]:
    """Register the fake kernel of ``<op>(candidates, scores, labels, image_indices, ...) -> (indices, counts)``.

    Returns:
        A function with the signature of the reference; `candidates` are boxes [N, 4] or packed masks [N, W].
    """
    ops = getattr(torch.ops, namespace)

    def suppress(
        candidates: Tensor,
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
            capacity = max_detections or candidates.shape[0]
        call = getattr(ops, op)
        return KeptDetections(
            *call(candidates, scores, labels, image_indices, iou_threshold, max_detections, num_images, capacity)
        )

    register_operator(namespace, op, fake=_fake)
    return suppress


def _fake(
    candidates: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    iou_threshold: float,
    max_detections: int,
    num_images: int,
    capacity: int,
) -> tuple[Tensor, Tensor]:
    return labels.new_empty(num_images, capacity), labels.new_empty(num_images)
