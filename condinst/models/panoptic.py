"""From instances and semantic logits to panoptic results (section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from condinst.ops import PanopticMaps

from .. import ops
from .config import CondInstConfig
from .detections import Detections
from .preprocessing import ImageBatch


def merge_panoptic(
    detections: Detections, semantic_logits: Tensor, batch: ImageBatch, config: CondInstConfig
) -> list[dict[str, Any]]:
    """The panoptic result of each image, see `CondInst.forward`.

    Args:
        detections: those that are visible; only confident ones get a mask.
        semantic_logits: [B, channels, h, w] of the semantic branch.
        batch: the images.
        config: of the model.
    """
    confident = detections.keep(detections.scores >= config.panoptic_score_threshold)
    places = torch.cat([confident.list_places(*pair) for pair in enumerate(confident.counts.tolist())])  # [k]
    scores, labels, images = (
        values.flatten()[places] for values in (confident.scores, confident.labels, confident.image_indices)
    )
    maps = ops.panoptic_merge(
        confident.mask_logits(places),
        scores,
        images,
        semantic_logits,
        network_sizes=batch.network_sizes,
        output_sizes=batch.output_sizes,
        num_thing_channels=config.num_thing_channels,
        mask_stride=config.mask_output_stride,
        semantic_stride=config.panoptic_stride,
        score_threshold=config.panoptic_score_threshold,
        mask_threshold=config.mask_threshold,
        overlap_threshold=config.panoptic_overlap_threshold,
        stuff_area_limit=config.stuff_area_limit,
    )
    return name_segments(maps, scores, labels, images, output_sizes=batch.output_sizes, num_classes=config.num_classes)


def name_segments(
    maps: PanopticMaps,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    output_sizes: Sequence[tuple[int, int]],
    num_classes: int,
) -> list[dict[str, Any]]:
    """What `ops.panoptic_merge` made, as ids from 1 on and the segments behind them.

    Args:
        maps: of B images and K instances.
        scores: [K] the input of the operator.
        labels: [K] the class of each instance.
        image_indices: [K] the input of the operator.
        output_sizes: (height, width) of each image, the input of the operator.
        num_classes: of things; stuff has the labels from there on.

    Returns:
        Of each image `ids` [height, width] int32, 0 for void, and `segments_info`, of segment 1, 2, ... a dict of `id`,
        `label`, `isthing`, `area` (px) and, of things, `score`; instances by falling score, then stuff by label.
    """
    ranked = scores.float().argsort(descending=True, stable=True).tolist()
    rows = list(
        zip(image_indices.tolist(), labels.tolist(), scores.tolist(), maps.instance_areas.tolist(), strict=True)
    )
    first_stuff = 1 + len(rows)
    results = []
    for index, (size, stuff_areas) in enumerate(zip(output_sizes, maps.stuff_areas.tolist(), strict=True)):
        segments: dict[int, dict[str, Any]] = {}  # by their id in the map
        for instance in ranked:
            image, label, score, area = rows[instance]
            if image == index and area:
                segments[1 + instance] = {"label": label, "isthing": True, "area": area, "score": score}
        for stuff, area in enumerate(stuff_areas):
            if area:
                segments[first_stuff + stuff] = {"label": num_classes + stuff, "isthing": False, "area": area}
        renamed = torch.zeros(first_stuff + len(stuff_areas), dtype=torch.int32)
        renamed[list(segments)] = torch.arange(1, len(segments) + 1, dtype=torch.int32)
        image_ids = maps.ids[index, : size[0], : size[1]]
        ids = renamed.to(image_ids.device).index_select(0, image_ids.flatten()).reshape(image_ids.shape)
        infos = [{"id": segment_id, **info} for segment_id, info in enumerate(segments.values(), start=1)]
        results.append({"ids": ids, "segments_info": infos})
    return results
