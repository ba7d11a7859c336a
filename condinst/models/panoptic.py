"""From instances and semantic logits to panoptic results (section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
    maps = ops.panoptic_merge(
        mask_logits(images, found.location_indices[merged]),
        scores,
        images,
        semantic_logits,
        network_sizes=[size.network for size in sizes],
        output_sizes=[size.output for size in sizes],
        num_thing_channels=config.num_thing_channels,
        mask_stride=config.mask_output_stride,
        semantic_stride=config.panoptic_stride,
        score_threshold=config.panoptic_score_threshold,
        mask_threshold=config.mask_threshold,
        overlap_threshold=config.panoptic_overlap_threshold,
        stuff_area_limit=config.stuff_area_limit,
    )
    # detections come by falling score
    instances = list(zip(images.tolist(), labels.tolist(), scores.tolist(), maps.instance_areas.tolist(), strict=True))
    first_stuff = 1 + len(instances)
    for index, (result, size, stuff_areas) in enumerate(zip(results, sizes, maps.stuff_areas.tolist(), strict=True)):
        segments = {
            number: {"label": label, "isthing": True, "area": area, "score": score}
            for number, (image, label, score, area) in enumerate(instances, start=1)
            if image == index and area
        }
        segments |= {
            first_stuff + stuff: {"label": config.num_classes + stuff, "isthing": False, "area": area}
            for stuff, area in enumerate(stuff_areas)
            if area
        }
        renamed = torch.zeros(first_stuff + len(stuff_areas), dtype=torch.int32)
        renamed[list(segments)] = torch.arange(1, len(segments) + 1, dtype=torch.int32)
        own = maps.ids[index, : size.output[0], : size.output[1]]
        ids = renamed.to(own.device).index_select(0, own.flatten()).reshape(own.shape)
        infos = [{"id": segment_id, **info} for segment_id, info in enumerate(segments.values(), start=1)]
        result["panoptic"] = {"ids": ids, "segments_info": infos}
