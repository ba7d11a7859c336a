"""Which annotations are surely usable as they are: a test of all objects of an image at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condinst.data.object_fields import BOX_TOLERANCE
from condinst.data.rles import LONGEST_OUTLINE

_NUMBERS = {int, float}


def plain_objects(annotations: Sequence[dict[str, Any]], sizes: Sequence[tuple[int, int]]) -> list[bool]:
    """For each annotation whether nothing in it is unusual: sound polygons inside the image, which surely have pixels.

    False means: not decided. `condinst.data.usable.examine` then decides, in many times the time.

    Args:
        annotations: of any images; some hundred at once are fast.
        sizes: (height, width) of the image of each, px.
    """
    plain = [
        _looks_usual(annotation, height * width) for annotation, (height, width) in zip(annotations, sizes, strict=True)
    ]
    usual = [annotation for annotation, is_usual in zip(annotations, plain, strict=True) if is_usual]
    if not usual:
        return plain
    parts = [part for annotation in usual for part in annotation["segmentation"]]
    flat = list(chain.from_iterable(parts))
    boxes = [annotation["bbox"] for annotation in usual]
    try:
        if not (_NUMBERS.issuperset(map(type, flat)) and _NUMBERS.issuperset(map(type, chain.from_iterable(boxes)))):
            raise ValueError("other types than numbers")
        points = np.array(flat, dtype=np.float64).reshape(-1, 2)
        corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    except (OverflowError, ValueError):  # one of them has something else than numbers of a usual size
        if len(annotations) == 1:
            return [False]
        middle = len(annotations) // 2
        return plain_objects(annotations[:middle], sizes[:middle]) + plain_objects(annotations[middle:], sizes[middle:])
    lengths = np.array([len(part) // 2 for part in parts])
    counts = np.array([len(annotation["segmentation"]) for annotation in usual])
    limits = np.array([size for size, is_usual in zip(sizes, plain, strict=True) if is_usual], dtype=np.float64)
    with np.errstate(all="ignore"):  # of NaN and infinity, which are never sure
        sure = iter(_are_sure(points, lengths, counts, corners, limits[:, ::-1]).tolist())
    return [is_usual and next(sure) for is_usual in plain]


def _looks_usual(annotation: dict[str, Any], pixels: int) -> bool:
    """Whether an annotation has polygons of three points or more, a box of four entries and a positive area."""
    segmentation, box, area = annotation["segmentation"], annotation["bbox"], annotation.get("area", 1)
    return (
        type(segmentation) is list
        and bool(segmentation)
        and type(box) is list
        and len(box) == 4
        and type(area) in _NUMBERS
        and 0 < area <= pixels
        and all(type(part) is list and len(part) >= 6 and not len(part) % 2 for part in segmentation)
    )


def _are_sure(
    points: NDArray[np.float64],
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    boxes: NDArray[np.float64],
    limits: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """For each object whether its polygons are inside the image, one has pixels, and they agree with its box.

    Args:
        points: [P, 2] (x, y) of all polygons, one after the other.
        lengths: points of each polygon.
        counts: polygons of each object.
        boxes: [G, 4] (x, y, width, height) of each object.
        limits: [G, 2] (width, height) of the image of each object, px.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    edges = points[following] - points
    crosses = points[:, 0] * edges[:, 1] - points[:, 1] * edges[:, 0]
    doubled_areas = np.abs(np.add.reduceat(crosses, starts))
    perimeters = np.add.reduceat(np.hypot(edges[:, 0], edges[:, 1]), starts)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    low, high = np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)
    has_pixels = np.logical_or.reduceat(doubled_areas > 2 * perimeters, first)
    inside = (low >= 0).all(1) & (high <= limits).all(1)
    short = np.add.reduceat(perimeters, first) <= LONGEST_OUTLINE
    ends = boxes[:, :2] + boxes[:, 2:]
    agree = (np.abs(boxes[:, :2] - low) <= BOX_TOLERANCE).all(1) & (np.abs(ends - high) <= BOX_TOLERANCE).all(1)
    in_image = (boxes[:, :2] >= -1).all(1) & (ends <= limits + 1).all(1) & (boxes[:, 2:] > 0).all(1)
    return has_pixels & inside & short & agree & in_image  # False wherever there is NaN
