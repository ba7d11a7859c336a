"""`decode_detections` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.geometry import pixel_locations

from . import Candidates


def decode_detections(
    class_logits: Tensor,
    centerness_logits: Tensor,
    box_distances: Tensor,
    *,
    level_sizes: list[tuple[int, int]],
    strides: tuple[int, ...],
    score_threshold: float,
    top_k: int,
    threshold_with_centerness: bool = True,
) -> Candidates:
    """The definition of `condinst.ops.decode_detections`; arguments and result are described there."""
    batch_size, _, num_classes = class_logits.shape
    class_scores = class_logits.float().sigmoid()  # [B, L, C]
    products = class_scores * centerness_logits.float().sigmoid()[:, :, None]  # [B, L, C]
    tested = products if threshold_with_centerness else class_scores  # [B, L, C]
    candidate = (tested > score_threshold**2) & ~products.isnan()  # [B, L, C]
    scores = products.sqrt()  # [B, L, C]
    if threshold_with_centerness:
        # Squaring rounds, so without this a score that equals the threshold could pass.
        candidate &= scores > score_threshold

    capacity = sum(min(top_k, height * width * num_classes) for height, width in level_sizes)  # K
    boxes = scores.new_zeros(batch_size, capacity, 4)
    out_scores = scores.new_zeros(batch_size, capacity)
    labels = scores.new_full((batch_size, capacity), -1, dtype=torch.int64)
    location_indices = torch.full_like(labels, -1)
    counts = labels.new_zeros(batch_size)
    for image in range(batch_size):
        first, end = 0, 0
        for (height, width), stride in zip(level_sizes, strides, strict=True):
            on_level = slice(first, first + height * width)
            level_scores = scores[image, on_level].flatten()  # [cells * C]
            index = torch.nonzero(candidate[image, on_level].flatten()).squeeze(1)  # [n] by location, then class
            if index.shape[0] > top_k:
                best = level_scores[index].argsort(descending=True, stable=True)[:top_k]
                index = index[best].sort().values  # [top_k]
            cell = index // max(num_classes, 1)  # [n]
            point = pixel_locations(height, width, stride, scores.device)[cell]  # [n, 2]
            distances = box_distances[image, on_level][cell].float() * stride  # [n, 4]
            places = slice(end, end + index.shape[0])
            boxes[image, places] = torch.cat([point - distances[:, :2], point + distances[:, 2:]], dim=1)
            out_scores[image, places] = level_scores[index]
            labels[image, places] = index % max(num_classes, 1)
            location_indices[image, places] = first + cell
            first, end = first + height * width, end + index.shape[0]
        counts[image] = end
    return Candidates(boxes, out_scores, labels, location_indices, counts)
