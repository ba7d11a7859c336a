"""From instances and semantic logits to panoptic results (section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from condinst.ops import PanopticMaps

from .. import ops
from .config import CondInstConfig
from .detections import Detections, MaskLogits
from .results import ImageSizes, on_the_image


def with_panoptic(
    results: list[dict[str, Any]],
    found: Detections,
    mask_logits: MaskLogits,
    semantic_logits: Tensor,
    sizes: Sequence[ImageSizes],
    config: CondInstConfig,
) -> None:
    """Adds `panoptic` to the results of a batch, see `CondInst.forward`.

    Args:
        results: of each image.
        found: the detections of the batch; those that the results leave out are left out here, too.
        mask_logits: gives the logits of their masks; asked for the confident ones only.
        semantic_logits: [B, channels, h, w] of the semantic branch.
        sizes: of each image.
        config: of the model.
    """
    confident = found.scores >= config.panoptic_score_threshold
    merged = torch.cat(
        [
            on_the_image(found, torch.nonzero(confident & (found.image_indices == index)).squeeze(1), size)[0]
            for index, size in enumerate(sizes)
        ]
    )
    images, scores, labels = found.image_indices[merged], found.scores[merged], found.labels[merged]
    output_sizes = [size.output for size in sizes]
    maps = ops.panoptic_merge(
        mask_logits(images, found.location_indices[merged]),
        scores,
        images,
        semantic_logits,
        network_sizes=[size.network for size in sizes],
        output_sizes=output_sizes,
        num_thing_channels=config.num_thing_channels,
        mask_stride=config.mask_output_stride,
        semantic_stride=config.panoptic_stride,
        score_threshold=config.panoptic_score_threshold,
        mask_threshold=config.mask_threshold,
        overlap_threshold=config.panoptic_overlap_threshold,
        stuff_area_limit=config.stuff_area_limit,
    )
    named = name_segments(maps, scores, labels, images, output_sizes=output_sizes, num_classes=config.num_classes)
    for result, panoptic in zip(results, named, strict=True):
        result["panoptic"] = panoptic


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
        scores: [K] as given to the operator.
        labels: [K] the class of each instance.
        image_indices: [K] as given to the operator.
        output_sizes: (height, width) of each image, as given to the operator.
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
        own = maps.ids[index, : size[0], : size[1]]
        ids = renamed.to(own.device).index_select(0, own.flatten()).reshape(own.shape)
        infos = [{"id": segment_id, **info} for segment_id, info in enumerate(segments.values(), start=1)]
        results.append({"ids": ids, "segments_info": infos})
    return results
