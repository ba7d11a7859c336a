"""`fcos_targets`: the training targets of every location of the pyramid (section 3.2, numerics 2.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import (
    FLOATING,
    check_elements,
    check_index_range,
    check_integer,
    check_levels,
    check_positive,
    check_same_device,
    check_sequence,
    check_shape,
    check_tensor,
)


class FCOSTargets(NamedTuple):
    """The targets of every location of a batch; L locations over all levels, finest first, row-major.

    labels [B, L] int64 (num_classes is background), distances [B, L, 4] (l, t, r, b) in strides, centerness [B, L] in
    0..1, object_indices [B, L] int64 into the batch's objects (-1 for background). Distances and centre-ness of
    background are 0.
    """

    labels: Tensor
    distances: Tensor
    centerness: Tensor
    object_indices: Tensor


def fcos_targets(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor | None,
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

    A location belongs to an object if it lies strictly inside the window ``centre +- radius * stride`` cut to the box,
    and max(l, t, r, b) is within the level's range (both ends included). If several objects match, the object with the
    smallest box wins; of equal boxes the first. The centre-ness target is
    ``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))``. Objects without area, with NaN or with inverted corners
    match no location. Does not wait for the device. Has no gradient.

    Args:
        boxes: [G, 4] (x1, y1, x2, y2) in pixels of the network input, the objects of all images, floating.
        labels: [G] int64 in 0 .. num_classes - 1.
        centers: [G, 2] (x, y) pixels, the mass centres from `mask_centers`; an object with a centre of NaN (empty mask)
            matches no location. None for box centres, ``((x1 + x2) / 2, (y1 + y2) / 2)``.
        image_indices: [G] int64 in 0 .. num_images - 1, the image of each object.
        num_images: B, at least 1.
        num_classes: label of background.
        level_sizes: (height, width) of each level.
        strides: pixels per cell of each level; cell j is at ``j * stride + stride // 2``.
        sizes_of_interest: upper ends of the ranges of all levels but the last.
        radius: in strides, positive.
        backend: see `condinst.backends.registry`.

    Returns:
        An `FCOSTargets` of tensors over [B, L], computed in float32.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes or numbers of levels that do not fit; on the CPU also a label or an image index out of range
            (a GPU does not check labels, and an object with such an image index matches no location there).
    """
    check_tensor("boxes", boxes, FLOATING, min_dims=2)
    num_objects = boxes.shape[0]
    check_shape("boxes", boxes, (num_objects, 4))
    check_tensor("labels", labels, (torch.int64,))
    check_tensor("image_indices", image_indices, (torch.int64,))
    for name, value in (("labels", labels), ("image_indices", image_indices)):
        check_shape(name, value, (num_objects,))
        check_same_device(name, value, "boxes", boxes)
    if centers is not None:
        check_tensor("centers", centers, FLOATING)
        check_shape("centers", centers, (num_objects, 2))
        check_same_device("centers", centers, "boxes", boxes)
    num_locations = check_levels(level_sizes, strides)
    check_sequence("sizes_of_interest", sizes_of_interest)
    if len(sizes_of_interest) + 1 != len(strides):
        raise ValueError(
            f"sizes_of_interest: expected one less than strides ({len(strides)}), got {len(sizes_of_interest)}"
        )
    for size in sizes_of_interest:
        check_integer("sizes_of_interest", size, 0)
    check_positive("radius", radius)
    check_integer("num_images", num_images, 1)
    check_elements("level_sizes", num_images, num_locations)
    check_integer("num_classes", num_classes, 0)
    check_index_range("labels", labels, num_classes)
    check_index_range("image_indices", image_indices, num_images)
    with torch.no_grad(), no_tangents():
        return select("fcos_targets", backend, boxes, num_levels=len(strides))(
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
