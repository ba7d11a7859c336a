"""`fcos_targets` by a Triton kernel, one launch per level."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from condinst.backends.launch import kernels, launch
from condinst.backends.triton import define, float64_reason

BLOCK = 256


def _forward(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor | None,
    image_indices: Tensor,
    num_images: int,
    num_classes: int,
    level_sizes: list[int],
    strides: list[int],
    sizes_of_interest: list[int],
    radius: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    boxes, labels, image_indices = boxes.contiguous(), labels.contiguous(), image_indices.contiguous()
    dense_centers = None if centers is None else centers.contiguous()
    heights, widths = level_sizes[::2], level_sizes[1::2]
    num_locations = sum(height * width for height, width in zip(heights, widths, strict=True))
    location_labels = labels.new_empty(num_images, num_locations)
    distances = boxes.new_empty(num_images, num_locations, 4)
    centerness = boxes.new_empty(num_images, num_locations)
    object_indices = labels.new_empty(num_images, num_locations)
    first_location = 0
    ranges = pairwise((-1.0, *map(float, sizes_of_interest), 1e8))
    for height, width, stride, (lowest, highest) in zip(heights, widths, strides, ranges, strict=True):
        num_blocks = -(-height * width // BLOCK)
        launch(
            kernels("fcos_targets").fcos_targets,
            num_images * num_blocks,
            boxes,
            labels,
            boxes if dense_centers is None else dense_centers,
            image_indices,
            location_labels,
            distances,
            centerness,
            object_indices,
            boxes.shape[0],
            num_classes,
            num_locations,
            first_location,
            height,
            width,
            stride,
            num_blocks,
            lowest,
            highest,
            radius,
            HAS_CENTERS=dense_centers is not None,
            BLOCK=BLOCK,
            enable_fp_fusion=False,  # No fused multiply-add, so that the result has the same bits as the reference.
        )
        first_location += height * width
    return location_labels, distances, centerness, object_indices


def unsupported_reason(boxes: Tensor, *, num_levels: int) -> str | None:
    return float64_reason(boxes)


define(
    "fcos_targets(Tensor boxes, Tensor labels, Tensor? centers, Tensor image_indices, "
    "SymInt num_images, int num_classes, SymInt[] level_sizes, int[] strides, int[] sizes_of_interest, float radius) "
    "-> (Tensor location_labels, Tensor distances, Tensor centerness, Tensor object_indices)",
    _forward,
)
