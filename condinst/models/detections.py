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
    class_scores = outputs.class_logits.float().sigmoid()
    scores = class_scores * outputs.centerness_logits.float().sigmoid()[:, :, None]
    # the root comes last, so the threshold on the reported score acts squared
    tested = scores if config.threshold_with_centerness else class_scores
    candidates = tested > config.score_threshold**2

    picked = []
    for level in range(len(config.strides)):
        on_level = torch.nonzero(locations.levels == level).squeeze(1)
        for index in range(scores.shape[0]):
            where = torch.nonzero(candidates[index, on_level])  # [n, 2] location on the level, class
            where[:, 0] = on_level[where[:, 0]]
            if len(where) > config.pre_nms_top_k:
                values = scores[index, where[:, 0], where[:, 1]]
                where = where[values.topk(config.pre_nms_top_k, sorted=False).indices]
            picked.append(torch.cat([torch.full_like(where[:, :1], index), where], dim=1))
    image, location, label = torch.cat(picked).unbind(1)
    score = scores[image, location, label].sqrt()
    if config.threshold_with_centerness:
        # squaring rounds: a score that equals the threshold must not slip through
        above = score > config.score_threshold
        image, location, label, score = image[above], location[above], label[above], score[above]

    distances = outputs.box_distances[image, location].float() * locations.strides[location, None]
    point = locations.points[location]
    boxes = torch.cat([point - distances[:, :2], point + distances[:, 2:]], dim=1)
    kept = ops.nms(
        boxes,
        score,
        label,
        image,
        iou_threshold=config.nms_threshold,
        max_detections=config.max_detections,
    )
    image, location = image[kept], location[kept]
    return Detections(boxes[kept], score[kept], label[kept], image, location, outputs.mask_head_params[image, location])
