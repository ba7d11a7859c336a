"""Code that the operators that suppress duplicates share: groups of candidates, and the best of each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import MOST_ELEMENTS, MOST_SIDE, check_elements, check_index_range, check_integer


class KeptDetections(NamedTuple):
    """The remaining detections of each image, by falling score; of equal scores the lower index first.

    indices [B, capacity] int64 into the N candidates, -1 after the last; counts [B] int64.
    """

    indices: Tensor
    counts: Tensor


def count_images(image_indices: Tensor, num_images: int | None) -> int:
    """`num_images`; if it is None, the highest index plus 1, which waits for the device."""
    if num_images is not None:
        return num_images
    return int(image_indices.max()) + 1 if image_indices.numel() else 0


def groups(scores: Tensor, labels: Tensor, image_indices: Tensor) -> Iterator[Tensor]:
    """Yield the candidates [n] of each label in each image, by falling score, without padding and scores of NaN."""
    valid = torch.nonzero((image_indices >= 0) & ~scores.isnan()).squeeze(1)  # [V]
    valid = valid[scores[valid].argsort(descending=True, stable=True)]  # [V]
    pairs = torch.stack([image_indices[valid], labels[valid]], dim=1)  # [V, 2]
    distinct, group = pairs.unique(dim=0, return_inverse=True)  # [groups, 2], [V]
    for index in range(distinct.shape[0]):
        yield valid[group == index]


def best_of_each_image(
    kept: Tensor, scores: Tensor, image_indices: Tensor, num_images: int, max_detections: int, capacity: int | None
) -> KeptDetections:
    """The `max_detections` best of each image; detections that tie with the last of them follow, up to `capacity`.

    Args:
        kept: [N] bool, whether each candidate was kept.
        scores: [N].
        image_indices: [N].
        num_images: B.
        max_detections: 0 for all.
        capacity: columns of the result; None for `max_detections`, or N where that is 0.
    """
    if capacity is None:
        capacity = max_detections or scores.shape[0]
    indices = scores.new_full((num_images, capacity), -1, dtype=torch.int64)  # [B, capacity]
    counts = scores.new_zeros(num_images, dtype=torch.int64)  # [B]
    for image in image_indices[kept & (image_indices < num_images)].unique().tolist():
        best = torch.nonzero(kept & (image_indices == image)).squeeze(1)  # [m]
        best = best[scores[best].argsort(descending=True, stable=True)]  # [m]
        if best.shape[0] > max_detections > 0:
            best = best[scores[best] >= scores[best[max_detections - 1]]]
        best = best[:capacity]
        indices[image, : best.shape[0]] = best
        counts[image] = best.shape[0]
    return KeptDetections(indices, counts)


def checked_images(image_indices: Tensor, num_images: int | None, max_detections: int, capacity: int | None) -> int:
    """The number of images; raises if it, or the size of the result of `nms` or `mask_nms`, is out of range."""
    check_integer("max_detections", max_detections, 0)
    if capacity is not None:
        check_integer("capacity", capacity, max(max_detections, 1))
    if num_images is not None:
        check_integer("num_images", num_images, 0, MOST_ELEMENTS)
    count = count_images(image_indices, num_images)
    check_index_range("image_indices", image_indices, count, least=-1)
    columns = capacity or max_detections or image_indices.shape[0]
    if columns > MOST_SIDE:
        check_integer("max_detections" if capacity is None else "capacity", columns, 0, MOST_SIDE)
    check_elements("num_images", count, columns)
    return count
