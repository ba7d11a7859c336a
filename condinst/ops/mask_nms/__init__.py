"""`mask_nms`: non-maximum suppression on binary masks, for inference without boxes (section 4.6, Table 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import check_candidates, check_probability
from condinst.ops.common.packed_masks import as_packed
from condinst.ops.common.suppression import KeptDetections, checked_images


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
    backend: str | None = None,
) -> KeptDetections:
    """Greedy suppression within each class of each image, by the IoU of masks; otherwise the rules of `nms`.

    An empty mask overlaps no other: it is kept, and removes no mask. Does not wait for the device, unless `num_images`
    is None. Has no gradient.

    Args:
        masks: [N, H, W] bool, or [N, W] int64 from `pack_masks`.
        scores: [N] floating; a mask with a score of NaN is not a candidate.
        labels: [N] int64, any numbers.
        image_indices: [N] int64 in 0 .. num_images - 1, the image of each mask; -1 for padding, which is ignored.
        iou_threshold: in 0..1; intersections and unions are whole numbers, their quotient is float32.
        max_detections: the most masks kept per image, the best first; 0 keeps all.
        num_images: B; None for the highest index plus 1, which waits for the device.
        capacity: columns of the result, see `nms`.
        backend: see `condinst.backends.registry`.

    Returns:
        `KeptDetections`, see `nms`.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes or numbers that do not fit; on the CPU also an image index out of range (a GPU ignores the
            mask).
    """
    packed = as_packed(masks, backend)
    check_candidates("masks", packed, scores, labels, image_indices)
    num_images = checked_images(image_indices, num_images, max_detections, capacity)
    check_probability("iou_threshold", iou_threshold)
    with torch.no_grad(), no_tangents():
        return select("mask_nms", backend, packed, scores)(
            packed,
            scores,
            labels,
            image_indices,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            num_images=num_images,
            capacity=capacity,
        )
