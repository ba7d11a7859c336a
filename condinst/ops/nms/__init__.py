"""`nms`: class-aware non-maximum suppression of a whole batch (section 3.4, numerics 1.10)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import (
    FLOATING,
    check_candidates,
    check_probability,
    check_shape,
    check_tensor,
)
from condinst.ops.common.suppression import KeptDetections, checked_images


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
    backend: str | None = None,
) -> KeptDetections:
    """Greedy suppression within each class of each image; boxes of different classes do not affect each other.

    A box is removed if its IoU with a kept box of a higher score is above the threshold; of equal scores the lower
    index comes first. The IoU is ``overlap / (area + area - overlap)`` in float32, and the threshold is not rounded. A
    box without area, with NaN or with inverted corners overlaps no other: it is kept, and removes no box. A box with a
    score of NaN is not a candidate. Does not wait for the device, unless `num_images` is None. Has no gradient.

    Args:
        boxes: [N, 4] (x1, y1, x2, y2) floating; negative coordinates are fine.
        scores: [N] floating.
        labels: [N] int64, any numbers.
        image_indices: [N] int64 in 0 .. num_images - 1, the image of each box; -1 for padding, which is ignored.
        iou_threshold: in 0..1.
        max_detections: the most boxes kept per image, the best first; 0 keeps all.
        num_images: B; None for the highest index plus 1, which waits for the device.
        capacity: columns of the result, by default `max_detections`, or N if that is 0. If there are more columns,
            boxes that tie with the last box are kept too, as in AdelaiDet.
        backend: see `condinst.backends.registry`.

    Returns:
        `KeptDetections`: indices [B, capacity] int64 of the boxes kept, in each image by falling score and of equal
        scores the lower index first, -1 after the last; counts [B] int64.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes or numbers that do not fit; on the CPU also an image index out of range (a GPU ignores the
            box).
    """
    check_tensor("boxes", boxes, FLOATING, min_dims=2)
    num_boxes = boxes.shape[0]
    check_shape("boxes", boxes, (num_boxes, 4))
    check_candidates("boxes", boxes, scores, labels, image_indices)
    num_images = checked_images(image_indices, num_images, max_detections, capacity)
    check_probability("iou_threshold", iou_threshold)
    with torch.no_grad(), no_tangents():
        return select("nms", backend, boxes, scores)(
            boxes,
            scores,
            labels,
            image_indices,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            num_images=num_images,
            capacity=capacity,
        )
