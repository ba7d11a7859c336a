"""Selects the detections of each image from the predictions at all locations (section 3.4, numerics 1.10)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.ops import Candidates, KeptDetections
from condinst.ops.common.mask_network import MaskHeadShape

from .. import ops
from .config import CondInstConfig
from .network import Locations, NetworkOutputs, mask_head_shape

_CERTAIN = 50.0
"""A logit whose sigmoid is 1 in float32."""

MASKS_AT_ONCE = 64
"""The number of instances whose mask logits are in memory at a time."""


@dataclass(frozen=True)
class Detections:
    """K places for detections in each of B images, and the data from which their masks are computed.

    The detections of an image come first, by falling score once duplicates are suppressed. The places after them are
    free: their boxes and scores are 0, their labels and locations -1. No size depends on values, so that nothing waits
    for the device.

    Args:
        boxes: [B, K, 4] (x1, y1, x2, y2) in network pixels, clipped only with `clip_boxes`; None for a model that
            detects without boxes.
        scores: [B, K] reported scores, by `score_rule`; lowered by "matrix" suppression.
        labels: [B, K].
        location_indices: [B, K] into the L locations of all levels.
        counts: [B] detections of each image.
        mask_features: [B, C, h, w].
        mask_head_params: [B, L, P] filters of the mask head of each location.
        locations: the L locations.
        mask_head: the shape of all mask heads.
    """

    boxes: Tensor | None
    scores: Tensor
    labels: Tensor
    location_indices: Tensor
    counts: Tensor
    mask_features: Tensor
    mask_head_params: Tensor
    locations: Locations
    mask_head: MaskHeadShape

    @property
    def num_places(self) -> int:
        """K."""
        return self.labels.shape[1]

    @property
    def is_taken(self) -> Tensor:
        """[B, K] bool: False for free places."""
        return self.labels >= 0

    @property
    def image_indices(self) -> Tensor:
        """[B, K] the image of each detection, -1 for free places."""
        images = torch.arange(len(self.labels), device=self.labels.device)[:, None]  # [B, 1]
        return torch.where(self.is_taken, images, -1)

    def list_places(self, image: int, count: int) -> Tensor:
        """The first `count` places of an image, as indices [count] into the places of all images [B * K]."""
        first = image * self.num_places
        return torch.arange(first, first + count, device=self.labels.device)

    def mask_logits(self, places: Tensor) -> Tensor:
        """Runs the mask heads of the detections at these places.

        Args:
            places: [k] int64 in 0 .. B * K - 1, image by image. A free place gets the mask of its image's first
                location.

        Returns:
            [k, h * upsample_factor, w * upsample_factor].
        """
        image = places // self.num_places  # [k]
        location = self.location_indices.flatten()[places].clamp(min=0)  # [k]
        return ops.dynamic_mask_head(
            self.mask_features,
            self.mask_head_params[image, location],
            self.locations.points[location],
            image,
            self.locations.sizes_of_interest[location],
            **self.mask_head.as_keywords(),
        )

    def keep(self, chosen: Tensor) -> Detections:
        """The detections where `chosen` [B, K] is True, moved to the front in the same order."""
        chosen = chosen & self.is_taken
        order = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)  # [B, K]
        counts = chosen.sum(dim=1)  # [B]
        place = torch.arange(self.num_places, device=order.device)  # [K]
        first = torch.arange(len(order), device=order.device)[:, None] * self.num_places  # [B, 1]
        return self.take(KeptDetections(torch.where(place < counts[:, None], first + order, -1), counts))

    def take(self, kept: KeptDetections) -> Detections:
        """The detections at places [B, M] of all images, in this order; -1 stands for a free place."""
        is_free = kept.indices < 0  # [B, M]
        places = kept.indices.clamp(min=0)  # [B, M]

        def gather(values: Tensor, free: int) -> Tensor:
            gathered = values.flatten(0, 1)[places]  # [B, M, ...]
            return gathered.masked_fill(is_free.reshape(*is_free.shape, *[1] * (gathered.dim() - 2)), free)

        return replace(
            self,
            boxes=None if self.boxes is None else gather(self.boxes, 0),
            scores=gather(self.scores, 0),
            labels=gather(self.labels, -1),
            location_indices=gather(self.location_indices, -1),
            counts=kept.counts,
        )


def select_detections(outputs: NetworkOutputs, config: CondInstConfig, extents: Tensor) -> Detections:
    """The best `pre_nms_top_k` candidates of each level above the score threshold, after NMS within each class.

    Args:
        outputs: outputs of the network.
        config: the thresholds, and whether NMS compares boxes or masks.
        extents: [B, 4] (width, height, width, height) of each image in network pixels, to which `clip_boxes` clips.
    """
    decoded = _decode(outputs, config)
    candidates = Detections(
        boxes=decoded.boxes,
        scores=decoded.scores,
        labels=decoded.labels,
        location_indices=decoded.location_indices,
        counts=decoded.counts,
        mask_features=outputs.mask_features,
        mask_head_params=outputs.head.mask_head_params,
        locations=outputs.locations,
        mask_head=mask_head_shape(config),
    )
    if config.clip_boxes:
        candidates = _clip(candidates, extents)
    if config.nms == "box":
        return candidates.take(_suppress_by_boxes(candidates, config))
    return _suppress_by_masks(candidates, config)


def _decode(outputs: NetworkOutputs, config: CondInstConfig) -> Candidates:
    """The candidates of all levels, with the scores that `score_rule` reports."""
    product = config.score_rule == "product"
    class_logits, centerness = outputs.head.class_logits, outputs.head.centerness_logits
    candidates = ops.decode_detections(
        class_logits,
        # With a centre-ness of 1, only the class probability ranks the candidates.
        torch.full_like(centerness, _CERTAIN) if product else centerness,
        outputs.head.box_distances,
        level_sizes=outputs.head.level_sizes,
        strides=config.strides,
        score_threshold=math.sqrt(config.score_threshold) if product else config.score_threshold,
        top_k=config.pre_nms_top_k,
        threshold_with_centerness=config.threshold_with_centerness and not product,
    )
    if not product:
        return candidates
    image = torch.arange(len(class_logits), device=class_logits.device)[:, None]  # [B, 1]
    location, label = candidates.location_indices.clamp(min=0), candidates.labels.clamp(min=0)  # [B, K]
    probability = class_logits[image, location, label].float().sigmoid()  # [B, K]
    return candidates._replace(scores=probability * centerness[image, location].float().sigmoid())


def _clip(candidates: Detections, extents: Tensor) -> Detections:
    """The candidates with boxes clipped to their images, without candidates whose clipped box is empty."""
    assert candidates.boxes is not None
    boxes = torch.minimum(candidates.boxes.clamp(min=0), extents[:, None])  # [B, K, 4]
    is_visible = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)  # [B, K]
    return replace(candidates, boxes=boxes).keep(is_visible)


def _limits(config: CondInstConfig, num_places: int) -> dict[str, Any]:
    """The limits of detections per image. Ties with the last are kept as in AdelaiDet, up to twice as many."""
    return {
        "max_detections": config.max_detections,
        "capacity": 2 * config.max_detections or max(num_places, 1),
    }


def _suppress_by_boxes(candidates: Detections, config: CondInstConfig) -> KeptDetections:
    assert candidates.boxes is not None
    return ops.nms(
        candidates.boxes.flatten(0, 1),
        candidates.scores.flatten(),
        candidates.labels.flatten(),
        candidates.image_indices.flatten(),
        iou_threshold=config.nms_threshold,
        num_images=len(candidates.counts),
        **_limits(config, candidates.num_places),
    )


def _suppress_by_masks(candidates: Detections, config: CondInstConfig) -> Detections:
    """Inference without boxes (section 4.6): every candidate gets a mask, and suppression compares the masks."""
    masks = _pack_masks(candidates, config.mask_threshold)  # [B * K, W]
    images, labels = candidates.image_indices.flatten(), candidates.labels.flatten()  # [B * K]
    images = torch.where((masks != 0).any(dim=1), images, -1)
    scores, threshold = candidates.scores.flatten(), config.nms_threshold
    if config.nms == "matrix":
        scores = ops.matrix_nms(
            masks, scores, labels, images, kernel=config.matrix_nms_kernel, sigma=config.matrix_nms_sigma
        )
        images = torch.where(scores > config.score_threshold, images, -1)
        threshold = 1.0  # No IoU is above 1, so this removes no detection and only selects the best of each image.
    kept = ops.mask_nms(
        masks,
        scores,
        labels,
        images,
        iou_threshold=threshold,
        num_images=len(candidates.counts),
        **_limits(config, candidates.num_places),
    )
    return replace(candidates, boxes=None, scores=scores.reshape(candidates.scores.shape)).take(kept)


def _pack_masks(candidates: Detections, threshold: float) -> Tensor:
    """The masks of all places as bits [B * K, W], with the logits of only a few masks in memory at a time."""
    num_places = candidates.num_places
    counts = [num_places] * len(candidates.counts)
    if candidates.counts.device.type == "cpu" and not torch.compiler.is_compiling():
        # Free places need no mask, and reading the counts on the CPU waits for no device.
        counts = candidates.counts.tolist()
    rows = []
    for image, count in enumerate(counts):
        packed = [
            ops.pack_masks(candidates.mask_logits(places).sigmoid(), threshold=threshold)
            for places in candidates.list_places(image, count).split(MASKS_AT_ONCE)
        ]
        rows.append(F.pad(torch.cat(packed), (0, 0, 0, num_places - count)))  # [K, W]
    return torch.cat(rows)
