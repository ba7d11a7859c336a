"""The box and the area of an annotation, which follow from its mask wherever they contradict it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycocotools import mask as coco_mask

from condinst.data.rles import largest_number
from condinst.data.segmentations import Mask, bounds, is_plainly_inside

Box = tuple[float, float, float, float]

LARGEST_BOX = 1_000_000_000  # of the numbers of a box
BOX_TOLERANCE = 1.5
"""Pixels that rounding, and counting the last pixel or not, put between the box of an annotation and its mask's."""

_ROUNDING = 1.5
"""By what factor the area of a polygon may be above the pixels of the whole image."""


def read_box(annotation: Mapping[str, Any]) -> Box | None:
    """The `bbox` of an annotation (x, y, width, height) px; None where these are not four finite numbers."""
    box = annotation.get("bbox")
    if isinstance(box, list) and len(box) == 4 and largest_number(box) <= LARGEST_BOX:
        return box[0], box[1], box[2], box[3]
    return None


def read_area(annotation: Mapping[str, Any], height: int, width: int) -> float | None:
    """The `area` of an annotation, px; None where it is no positive number that fits into the image."""
    area = annotation.get("area")
    if area is None or not 0 < largest_number([area]) <= _ROUNDING * height * width or area < 0:
        return None
    return float(area)


def mask_box(mask: Mask, height: int, width: int) -> Box:
    """The smallest box (x1, y1, x2, y2) px round a mask in an image of this size; of an empty mask zeros.

    That of polygons inside the image is that of their points, as in COCO's own files.
    """
    polygons = mask.segmentation
    if isinstance(polygons, list) and all(is_plainly_inside(polygon, height, width) for polygon in polygons):
        return bounds(polygons)
    x, y, w, h = coco_mask.toBbox(mask.rle(height, width)).tolist()
    return x, y, x + w, y + h


def is_far(box: Box, mask_box: Box, height: int, width: int) -> bool:
    """Whether a side of a box, within the image, is more than rounding and a tenth of the mask away from the mask's.

    Args:
        box, mask_box: (x1, y1, x2, y2) px.
        height, width: of the image.
    """
    tolerance = max(BOX_TOLERANCE, 0.1 * max(mask_box[2] - mask_box[0], mask_box[3] - mask_box[1]))
    limits = (width, height, width, height)
    inside = [min(max(side, 0), limit) for side, limit in zip(box, limits, strict=True)]
    return any(abs(side - other) > tolerance for side, other in zip(inside, mask_box, strict=True))


def agrees(box: Box | None, mask_box: Box, height: int, width: int) -> bool:
    """Whether a `bbox` (x, y, width, height) has an area and is about that of its mask (x1, y1, x2, y2)."""
    if box is None or min(box[2:]) <= 0:
        return False
    x, y, w, h = box
    return not is_far((x, y, x + w, y + h), mask_box, height, width)
