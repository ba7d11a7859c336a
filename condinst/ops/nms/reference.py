"""`nms` in plain PyTorch and torchvision."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.ops.common.suppression import KeptDetections, best_of_each_image, count_images, groups


def nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    iou_threshold: float,
    max_detections: int = 0,
    num_images: int | None = None,
    capacity: int | None = None,
) -> KeptDetections:
    """The definition of `condinst.ops.nms`; arguments and result are described there."""
    # Imported here, because its import takes as long as that of PyTorch, and no other operator needs it.
    import torchvision

    boxes, scores = boxes.float(), scores.float()  # [N, 4], [N]
    kept = torch.zeros_like(scores, dtype=torch.bool)  # [N]
    for members in groups(scores, labels, image_indices):  # [n]
        kept[members[torchvision.ops.nms(boxes[members], scores[members], iou_threshold)]] = True
    return best_of_each_image(
        kept, scores, image_indices, count_images(image_indices, num_images), max_detections, capacity
    )
