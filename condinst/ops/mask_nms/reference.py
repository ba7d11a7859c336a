"""`mask_nms` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.ops.common.suppression import KeptDetections, best_of_each_image, count_images, groups


def mask_nms(
    masks: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    iou_threshold: float,
    max_detections: int = 0,
    num_images: int | None = None,
    capacity: int | None = None,
) -> KeptDetections:
    """The definition of `condinst.ops.mask_nms`; arguments and result are described there."""
    scores = scores.float()  # [N]
    kept = torch.zeros_like(scores, dtype=torch.bool)  # [N]
    for members in groups(scores, labels, image_indices):  # [n]
        rivals = mask_iou(masks[members]) > iou_threshold  # [n, n]
        alive = torch.ones_like(members, dtype=torch.bool)  # [n]
        for index in range(members.shape[0]):
            if alive[index]:
                alive[index + 1 :] &= ~rivals[index, index + 1 :]
        kept[members[alive]] = True
    return best_of_each_image(
        kept, scores, image_indices, count_images(image_indices, num_images), max_detections, capacity
    )


def mask_iou(masks: Tensor) -> Tensor:
    """IoU of every pair of packed masks [n, W]: [n, n] float32; NaN for two empty ones."""
    places = torch.arange(64, device=masks.device)  # [64]
    bits = ((masks[:, :, None] >> places) & 1).flatten(1).double()  # [n, 64 W]
    intersections = bits @ bits.T  # [n, n] whole numbers
    areas = intersections.diagonal()  # [n]
    unions = areas[:, None] + areas - intersections  # [n, n]
    return intersections.float() / unions.float()
