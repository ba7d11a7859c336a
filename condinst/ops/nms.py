"""`nms`: class-aware non-maximum suppression of a whole batch (section 3.4, SPEC 1.10)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select

from .checks import FLOATING, check_at_least, check_same_device, check_shape, check_tensor


def nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    iou_threshold: float,
    max_detections: int = 0,
    backend: str | None = None,
) -> Tensor:
    """Greedy suppression within each class of each image; boxes of different classes never touch.

    Args:
        boxes: [N, 4] (x1, y1, x2, y2) floating; negative coordinates are fine.
        scores: [N] floating.
        labels: [N] int64.
        image_indices: [N] int64, the image of each box.
        iou_threshold: a box goes when its IoU with a better one of its class is above it.
        max_detections: boxes kept per image, the best ones; more when the last ones tie; 0 keeps all.
        backend: see `condinst.backends.registry`.

    Returns:
        [M] int64 indices of the boxes kept, by image and then by falling score; of equal scores the lower index first.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit.
    """
    check_tensor("boxes", boxes, FLOATING, min_dims=2)
    num_boxes = boxes.shape[0]
    check_shape("boxes", boxes, (num_boxes, 4))
    check_tensor("scores", scores, FLOATING)
    check_tensor("labels", labels, (torch.int64,))
    check_tensor("image_indices", image_indices, (torch.int64,))
    for name, value in (("scores", scores), ("labels", labels), ("image_indices", image_indices)):
        check_shape(name, value, (num_boxes,))
        check_same_device(name, value, "boxes", boxes)
    check_at_least("max_detections", max_detections, 0)
    implementation = select("nms", backend, boxes, scores)
    return implementation(
        boxes, scores, labels, image_indices, iou_threshold=iou_threshold, max_detections=max_detections
    )
