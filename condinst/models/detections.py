"""From predictions at all locations to the detections of each image (section 3.4, numerics 1.10)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condinst.ops import Candidates

from .. import ops
from ..geometry import pixel_locations
from .config import CondInstConfig
from .heads import HeadOutputs

MaskLogits = Callable[[Tensor, Tensor], Tensor]
"""From images [K] and locations [K] of instances to their mask logits [K, h, w]."""

_CERTAIN = 50.0
"""A logit whose sigmoid is 1 in float32."""

MASKS_AT_ONCE = 64
"""Instances whose logits exist together while masks are compared; what stays of them is a bit per pixel."""


@dataclass
class Detections:
    """K detections of a batch, by image and then by falling score.

    Args:
        boxes: [K, 4] (x1, y1, x2, y2) in network pixels, clipped with `clip_boxes` only; None where masks alone decide.
        scores: [K] reported scores, by `score_rule`; lowered by "matrix" suppression.
        labels: [K].
        image_indices: [K].
        location_indices: [K] into the L locations of all levels.
        mask_head_params: [K, P].
    """

    boxes: Tensor | None
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


def select_detections(
    outputs: HeadOutputs, config: CondInstConfig, mask_logits: MaskLogits, sizes: Sequence[tuple[int, int]]
) -> Detections:
    """Candidates above the score threshold, the best `pre_nms_top_k` of each level, then NMS within each class.

    Args:
        outputs: predictions at all locations.
        config: the thresholds, and what NMS compares: boxes or masks.
        mask_logits: called where masks are compared.
        sizes: (height, width) of each image in network pixels, to which `clip_boxes` clips.
    """
    found = _decode(outputs, config)
    if config.clip_boxes:
        found = _clip(found, sizes)
    batch_size, places = found.labels.shape
    image = torch.arange(batch_size, device=found.labels.device)[:, None].expand(-1, places)  # [B, K]
    if config.nms != "box":
        taken = found.labels >= 0
        return _select_by_masks(
            outputs,
            config,
            mask_logits,
            found.scores[taken],
            found.labels[taken],
            image[taken],
            found.location_indices[taken],
        )
    boxes, scores, labels = found.boxes.flatten(0, 1), found.scores.flatten(), found.labels.flatten()
    kept = ops.nms(
        boxes,
        scores,
        labels,
        torch.where(found.labels >= 0, image, -1).flatten(),
        iou_threshold=config.nms_threshold,
        num_images=batch_size,
        **_limits(config),
    )
    index = kept.indices[kept.indices >= 0]
    image, location = image.flatten()[index], found.location_indices.flatten()[index]
    params = outputs.mask_head_params[image, location]
    return Detections(boxes[index], scores[index], labels[index], image, location, params)


def _decode(outputs: HeadOutputs, config: CondInstConfig) -> Candidates:
    """The candidates of all levels, with the scores that `score_rule` reports."""
    product = config.score_rule == "product"
    class_logits, centerness = outputs.class_logits, outputs.centerness_logits
    found = ops.decode_detections(
        class_logits,
        # where centre-ness is certain, the class probability alone ranks
        torch.full_like(centerness, _CERTAIN) if product else centerness,
        outputs.box_distances,
        level_sizes=outputs.level_sizes,
        strides=config.strides,
        score_threshold=math.sqrt(config.score_threshold) if product else config.score_threshold,
        top_k=config.pre_nms_top_k,
        threshold_with_centerness=config.threshold_with_centerness and not product,
    )
    if not product:
        return found
    row = torch.arange(len(class_logits), device=class_logits.device)[:, None]
    location, label = found.location_indices.clamp(min=0), found.labels.clamp(min=0)
    probability = class_logits[row, location, label].float().sigmoid()  # [B, K]
    return found._replace(scores=probability * centerness[row, location].float().sigmoid())


def _clip(found: Candidates, sizes: Sequence[tuple[int, int]]) -> Candidates:
    """The candidates with boxes clipped to images of these (height, width); places of empty boxes become free."""
    limit = found.boxes.new_tensor([(width, height, width, height) for height, width in sizes])[:, None]
    boxes = torch.minimum(found.boxes.clamp(min=0), limit)  # [B, K, 4]
    visible = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)  # [B, K]
    return found._replace(boxes=boxes, labels=torch.where(visible, found.labels, -1))


def _limits(config: CondInstConfig) -> dict[str, Any]:
    """Detections per image: equal scores at the end are all kept, as in AdelaiDet, up to twice as many."""
    return {"max_detections": config.max_detections, "capacity": 2 * config.max_detections or None}


def _select_by_masks(
    outputs: HeadOutputs,
    config: CondInstConfig,
    mask_logits: MaskLogits,
    scores: Tensor,
    labels: Tensor,
    image: Tensor,
    location: Tensor,
) -> Detections:
    """Inference without boxes (section 4.6): every candidate gets a mask, and suppression compares these."""
    masks = torch.cat(
        [
            ops.pack_masks(mask_logits(*chunk).sigmoid(), threshold=config.mask_threshold)
            for chunk in zip(image.split(MASKS_AT_ONCE), location.split(MASKS_AT_ONCE), strict=True)
        ]
    )  # [n, W]
    visible = (masks != 0).any(dim=1)
    masks, scores, labels, image, location = (t[visible] for t in (masks, scores, labels, image, location))
    competitors, threshold = image, config.nms_threshold
    if config.nms == "matrix":
        scores = ops.matrix_nms(
            masks, scores, labels, image, kernel=config.matrix_nms_kernel, sigma=config.matrix_nms_sigma
        )
        competitors = torch.where(scores > config.score_threshold, image, -1)
        threshold = 1.0  # no IoU is above it: nothing more is removed, the best of each image are picked
    kept = ops.mask_nms(
        masks,
        scores,
        labels,
        competitors,
        iou_threshold=threshold,
        num_images=outputs.class_logits.shape[0],
        **_limits(config),
    )
    index = kept.indices[kept.indices >= 0]
    image, location = image[index], location[index]
    return Detections(None, scores[index], labels[index], image, location, outputs.mask_head_params[image, location])
