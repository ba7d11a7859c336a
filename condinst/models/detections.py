"""From predictions at all locations to the detections of each image (section 3.4, SPEC 1.10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..geometry import pixel_locations
from .config import CondInstConfig
from .heads import HeadOutputs


@dataclass
class Detections:
    """K detections of a batch, by image and then by falling score.

    Args:
        boxes: [K, 4] (x1, y1, x2, y2) in network pixels, not clipped.
        scores: [K] reported scores, sqrt(class probability * centre-ness).
        labels: [K].
        image_indices: [K].
        location_indices: [K] into the L locations of all levels.
        mask_head_params: [K, P].
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    image_indices: Tensor
    location_indices: Tensor
    mask_head_params: Tensor


@dataclass
class Locations:
    """The L locations of all levels, finest first, row-major within a level.

    Args:
        points: [L, 2] (x, y) in network pixels.
        strides: [L] pixels.
        levels: [L] index into `head_in_features`.
        sizes_of_interest: [L] pixels, divisor of the relative coordinates.
    """

    points: Tensor
    strides: Tensor
    levels: Tensor
    sizes_of_interest: Tensor


def make_locations(level_sizes: list[tuple[int, int]], config: CondInstConfig, device: torch.device) -> Locations:
    """The locations of levels of these (height, width)."""
    points = [
        pixel_locations(height, width, stride, device)
        for (height, width), stride in zip(level_sizes, config.strides, strict=True)
    ]
    counts = torch.tensor([len(level) for level in points], device=device)
    levels = torch.arange(len(points), device=device).repeat_interleave(counts)
    return Locations(
        points=torch.cat(points),
        strides=torch.tensor(config.strides, dtype=torch.float32, device=device)[levels],
        levels=levels,
        sizes_of_interest=torch.tensor(config.level_sizes_of_interest, dtype=torch.float32, device=device)[levels],
    )


def select_detections(outputs: HeadOutputs, locations: Locations, config: CondInstConfig) -> Detections:
    """Candidates above the score threshold, the best `pre_nms_top_k` of each level, then NMS within each class."""
    found = ops.decode_detections(
        outputs.class_logits,
        outputs.centerness_logits,
        outputs.box_distances,
        level_sizes=outputs.level_sizes,
        strides=config.strides,
        score_threshold=config.score_threshold,
        top_k=config.pre_nms_top_k,
        threshold_with_centerness=config.threshold_with_centerness,
    )
    batch_size, places = found.labels.shape
    image = torch.arange(batch_size, device=found.labels.device)[:, None].expand(-1, places)  # [B, K]
    kept = ops.nms(
        found.boxes.flatten(0, 1),
        found.scores.flatten(),
        found.labels.flatten(),
        torch.where(found.labels >= 0, image, -1).flatten(),
        iou_threshold=config.nms_threshold,
        max_detections=config.max_detections,
        num_images=batch_size,
        capacity=2 * config.max_detections or None,
    )
    index = kept.indices[kept.indices >= 0]
    image, location = image.flatten()[index], found.location_indices.flatten()[index]
    return Detections(
        found.boxes.flatten(0, 1)[index],
        found.scores.flatten()[index],
        found.labels.flatten()[index],
        image,
        location,
        outputs.mask_head_params[image, location],
    )
