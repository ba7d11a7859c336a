"""Converts detections in network pixels to the results of each image at the size of the image (numerics 1.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from condinst.ops import EncodedMasks

from .. import ops
from ..geometry import boxes_of_masks
from .config import CondInstConfig
from .detections import MASKS_AT_ONCE, Detections
from .preprocessing import ImageBatch

MASK_FORMATS = ("bool", "rle")


def drop_invisible(detections: Detections, batch: ImageBatch) -> Detections:
    """The detections whose box has an area on its image; all detections if there are no boxes."""
    if detections.boxes is None:
        return detections
    boxes = scale_boxes(detections.boxes, batch)
    return detections.keep((boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1]))


def scale_boxes(boxes: Tensor, batch: ImageBatch) -> Tensor:
    """Scales boxes [B, K, 4] (x1, y1, x2, y2) from network pixels to pixels of the results, and clips them."""
    scales = (batch.output_extents.double() / batch.network_extents.double()).to(boxes.dtype)  # [B, 4]
    return torch.minimum((boxes * scales[:, None]).clamp(min=0), batch.output_extents[:, None])


def encode_masks(
    detections: Detections, batch: ImageBatch, mask_format: str, config: CondInstConfig
) -> list[Tensor | EncodedMasks]:
    """The masks of each image at the size of its results, computed for `MASKS_AT_ONCE` instances at a time.

    The counts are read here, which is the first time that inference waits for the device.

    Args:
        detections: the visible detections.
        batch: their images.
        mask_format: "bool" for [K, H, W] bool; "rle" for run lengths, in memory that does not grow with pixels times
            objects.
        config: config of the model.
    """
    encode = _encode_rles if mask_format == "rle" else _encode_pixels
    return [
        encode(
            detections,
            detections.list_places(image, count),
            {
                "mask_stride": config.mask_output_stride,
                "network_size": batch.network_sizes[image],
                "output_size": batch.output_sizes[image],
                "threshold": config.mask_threshold,
            },
        )
        for image, count in enumerate(detections.counts.tolist())
    ]


def _encode_pixels(detections: Detections, places: Tensor, options: dict[str, Any]) -> Tensor:
    masks = torch.empty(len(places), *options["output_size"], dtype=torch.bool, device=places.device)
    for start in range(0, len(places), MASKS_AT_ONCE):
        logits = detections.mask_logits(places[start : start + MASKS_AT_ONCE])
        masks[start : start + MASKS_AT_ONCE] = ops.masks_to_image(logits, **options)
    return masks


def _encode_rles(detections: Detections, places: Tensor, options: dict[str, Any]) -> EncodedMasks:
    chunks = [
        ops.masks_to_rle(detections.mask_logits(chunk), **options)
        for chunk in places.split(MASKS_AT_ONCE)
        if len(chunk)
    ]
    return EncodedMasks(
        rles=[rle for chunk in chunks for rle in chunk.rles],
        areas=torch.cat([torch.zeros(0, dtype=torch.int64), *(chunk.areas for chunk in chunks)]),
        boxes=torch.cat([torch.zeros(0, 4), *(chunk.boxes for chunk in chunks)]),
    )


def make_results(
    detections: Detections, masks: Sequence[Tensor | EncodedMasks], batch: ImageBatch
) -> list[dict[str, Any]]:
    """The results of each image, see `CondInst.forward`: the detections without the free places.

    Args:
        detections: the visible detections.
        masks: masks of each image, from `encode_masks`.
        batch: the images.
    """
    boxes = None if detections.boxes is None else scale_boxes(detections.boxes, batch)
    results = []
    for image, encoded in enumerate(masks):
        count = len(encoded if isinstance(encoded, Tensor) else encoded.rles)
        result: dict[str, Any] = {
            "boxes": None if boxes is None else boxes[image, :count],
            "scores": detections.scores[image, :count],
            "labels": detections.labels[image, :count],
        }
        if isinstance(encoded, Tensor):
            result["masks"] = encoded
        else:
            result["rles"] = encoded.rles
        results.append(result if boxes is not None else _add_boxes(result, encoded))
    return results


def _add_boxes(result: dict[str, Any], encoded: Tensor | EncodedMasks) -> dict[str, Any]:
    """The result of a model without boxes: boxes are computed from the masks, and empty masks are left out."""
    if isinstance(encoded, Tensor):
        is_visible = encoded.flatten(1).any(dim=1)
        masks = encoded[is_visible]
        added: dict[str, Any] = {"boxes": boxes_of_masks(masks), "masks": masks}
    else:
        boxes = encoded.boxes.to(result["scores"])
        is_visible = boxes[:, 2] > boxes[:, 0]
        rles = [rle for rle, visible in zip(encoded.rles, is_visible.tolist(), strict=True) if visible]
        added = {"boxes": boxes[is_visible], "rles": rles}
    return {**result, "scores": result["scores"][is_visible], "labels": result["labels"][is_visible], **added}
