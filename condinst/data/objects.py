"""The objects of one image as their annotations describe them, before any mask is drawn."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

Polygons = list[list[float]]
Segmentation = Polygons | dict[str, Any]
"""COCO polygons, [x1, y1, x2, y2, ...] each, or compressed run lengths ``{"size": [H, W], "counts": bytes or str}``."""


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of one image.

    Args:
        boxes: float32 [G, 4] xyxy px, within the image.
        labels: int64 [G].
        segmentations: G masks.
        size: (height, width) of the image.
        image_id: of the annotation file.
        semantic: int16 [H, W], the panoptic label of each pixel of the image: things as in `labels`, then stuff, -1 for
            void; None for data of instances only.
    """

    boxes: Tensor
    labels: Tensor
    segmentations: list[Segmentation]
    size: tuple[int, int]
    image_id: int | str
    semantic: Tensor | None = None
