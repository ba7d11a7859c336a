"""`fcos_targets`: what every location of the pyramid should predict (section 3.2, SPEC 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.reference.fcos_targets import FCOSTargets

from .checks import FLOATING, check_same_device, check_shape, check_tensor


def fcos_targets(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor,
    image_indices: Tensor,
    *,
    num_images: int,
    num_classes: int,
    level_sizes: list[tuple[int, int]],
    strides: tuple[int, ...],
    sizes_of_interest: tuple[int, ...],
    radius: float = 1.5,
    backend: str | None = None,
) -> FCOSTargets:
    """Class, box and centre-ness targets and the object of every location of all levels, for a whole batch.

    A location belongs to an object when it lies strictly inside the window ``centre +- radius * stride`` cut to the
    box, and max(l, t, r, b) is within the level's range (both ends included). Of several objects the one with the
    smallest box wins; of equal boxes the first. The centre-ness target is
    ``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))``.

    Args:
        boxes: [G, 4] (x1, y1, x2, y2) in pixels of the network input, the objects of all images, floating.
        labels: [G] int64 in 0 .. num_classes - 1.
        centers: [G, 2] (x, y) pixels: mass centres of the masks, or box centres. A NaN centre (empty mask) matches
            nothing.
        image_indices: [G] int64, the image of each object.
        num_images: B.
        num_classes: label of background.
        level_sizes: (height, width) of each level.
        strides: pixels per cell of each level; cell j is at ``j * stride + stride // 2``.
        sizes_of_interest: upper ends of the ranges of all levels but the last.
        radius: in strides.
        backend: see `condinst.backends.registry`.

    Returns:
        An `FCOSTargets` of tensors over [B, L], computed in float32.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes or numbers of levels that do not fit.
    """
    check_tensor("boxes", boxes, FLOATING, min_dims=2)
    num_objects = boxes.shape[0]
    check_tensor("labels", labels, (torch.int64,))
    check_tensor("centers", centers, FLOATING)
    check_tensor("image_indices", image_indices, (torch.int64,))
    check_shape("boxes", boxes, (num_objects, 4))
    check_shape("labels", labels, (num_objects,))
    check_shape("centers", centers, (num_objects, 2))
    check_shape("image_indices", image_indices, (num_objects,))
    for name, value in (("labels", labels), ("centers", centers), ("image_indices", image_indices)):
        check_same_device(name, value, "boxes", boxes)
    if not len(level_sizes) == len(strides) == len(sizes_of_interest) + 1:
        raise ValueError(
            f"level_sizes: expected as many levels as strides ({len(strides)}) and one more than sizes_of_interest"
            f" ({len(sizes_of_interest)}), got {len(level_sizes)}"
        )
    return select("fcos_targets", backend, boxes)(
        boxes,
        labels,
        centers,
        image_indices,
        num_images=num_images,
        num_classes=num_classes,
        level_sizes=level_sizes,
        strides=strides,
        sizes_of_interest=sizes_of_interest,
        radius=radius,
    )
