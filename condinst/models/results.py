"""From detections in network pixels to the results of an image at its own size (numerics 1.11)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..geometry import boxes_of_masks
from .config import CondInstConfig
from .detections import MASKS_AT_ONCE, Detections, MaskLogits

MASK_FORMATS = ("bool", "rle")


class ImageSizes(NamedTuple):
    """(height, width) of an image as the network saw it, without padding, and of its results."""

    network: tuple[int, int]
    output: tuple[int, int]


def with_masks(
    found: Detections, own: Tensor, mask_logits: MaskLogits, sizes: ImageSizes, config: CondInstConfig
) -> dict[str, Any]:
    """The result of one image with masks [K, H, W] bool.

    Args:
        found: the detections of a batch.
        own: [K] which of them are in the image.
        mask_logits: gives the logits of their masks.
        sizes: of the image.
        config: of the model.
    """
    own, boxes = on_the_image(found, own, sizes)
    masks = torch.empty(len(own), *sizes.output, dtype=torch.bool, device=own.device)
    for start in range(0, len(own), MASKS_AT_ONCE):
        chunk = own[start : start + MASKS_AT_ONCE]
        logits = mask_logits(found.image_indices[chunk], found.location_indices[chunk])
        masks[start : start + MASKS_AT_ONCE] = ops.masks_to_image(logits, **_options(sizes, config))
    if boxes is None:
        visible = masks.flatten(1).any(dim=1)
        own, masks = own[visible], masks[visible]
        boxes = boxes_of_masks(masks)
    return {"boxes": boxes, "scores": found.scores[own], "labels": found.labels[own], "masks": masks}


def with_rles(
    found: Detections, own: Tensor, mask_logits: MaskLogits, sizes: ImageSizes, config: CondInstConfig
) -> dict[str, Any]:
    """The same with run lengths. Few logits exist together and nothing has the size of the image."""
    own, boxes = on_the_image(found, own, sizes)
    rles: list[dict[str, Any]] = []
    boxes_of_rles = [torch.zeros(0, 4)]
    for chunk in own.split(MASKS_AT_ONCE):
        if len(chunk):
            logits = mask_logits(found.image_indices[chunk], found.location_indices[chunk])
            encoded = ops.masks_to_rle(logits, **_options(sizes, config))
            rles += encoded.rles
            boxes_of_rles.append(encoded.boxes)
    if boxes is None:
        boxes = torch.cat(boxes_of_rles).to(found.scores)
        visible = boxes[:, 2] > boxes[:, 0]
        own, boxes = own[visible], boxes[visible]
        rles = [rle for rle, is_visible in zip(rles, visible.tolist(), strict=True) if is_visible]
    return {"boxes": boxes, "scores": found.scores[own], "labels": found.labels[own], "rles": rles}


def on_the_image(found: Detections, own: Tensor, sizes: ImageSizes) -> tuple[Tensor, Tensor | None]:
    """Those of an image's detections whose box has an area on it, and these boxes; None where there are no boxes."""
    if found.boxes is None:
        return own, None
    boxes = scale_boxes(found.boxes[own], sizes.network, sizes.output)
    visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return own[visible], boxes[visible]


def _options(sizes: ImageSizes, config: CondInstConfig) -> dict[str, Any]:
    return {
        "mask_stride": config.mask_output_stride,
        "network_size": sizes.network,
        "output_size": sizes.output,
        "threshold": config.mask_threshold,
    }


def scale_boxes(boxes: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Brings boxes [K, 4] (x1, y1, x2, y2) from an image of size `old` (height, width) to `new`, clipped to it."""
    scale = boxes.new_tensor([new[1] / old[1], new[0] / old[0]]).repeat(2)
    limit = boxes.new_tensor([new[1], new[0]]).repeat(2)
    return torch.minimum((boxes * scale).clamp(min=0), limit)
