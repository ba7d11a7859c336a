"""Masks of training data as COCO run lengths: what training asks of them, without their pixels.

A mask is ``{"size": [height, width], "counts": bytes or str}``, of at most `MOST_PIXELS`. The work is done in C++ by
`condinst._host`. It refuses damaged counts, over which pycocotools reads memory that is not its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst.geometry import MOST_PIXELS
from condinst.messages import shorten

try:
    from condinst import _host
except ImportError:  # not built
    _host = None  # type: ignore[assignment]

Rle = dict[str, Any]

_WHOLE = (int, np.integer)
_INT64 = np.dtype(np.int64)
_NUMBERS = {int, float}
_LARGEST_FLOAT = 1e300  # larger whole numbers cannot be added to floats

LARGEST_COORDINATE = 100_000_000
"""The largest coordinate of a polygon, in pixels. pycocotools multiplies it by 5 and counts in 32 bits."""
LONGEST_OUTLINE = 4_000_000
"""The most pixels that the outlines of an object's polygons may have together. pycocotools takes 200 MB of memory and
half a second to draw as many."""


def sample_masks(rles: Sequence[Rle], stride: int, size: tuple[int, int]) -> Tensor:
    """Masks at the stride of the mask loss, as slicing `[stride // 2 :: stride]` of the padded masks (numerics 2.5).

    Args:
        rles: G masks, of any sizes up to `size`.
        stride: pixels between two samples.
        size: (height, width) of the padded batch, multiples of `stride`.

    Returns:
        bool [G, height // stride, width // stride]; False beyond the mask.

    Raises:
        TypeError: counts that are neither bytes nor str.
        ValueError: a mask larger than `size`, without a size or with damaged counts; a `size` that is no multiple of
            `stride`.
    """
    if type(stride) is not int or not 1 <= stride <= MOST_PIXELS:
        raise ValueError(f"stride: expected a whole number of at least 1, got {shorten(stride)}")
    height, width = _checked_size("size", size)
    if height % stride or width % stride:
        raise ValueError(f"size: expected multiples of the stride {stride}, got {height} x {width}")
    sizes, counts = _split(rles)
    for index, (own_height, own_width) in enumerate(sizes.tolist()):
        if own_height > height or own_width > width:
            raise ValueError(
                f"rles[{index}]: expected at most {height} x {width} pixels, got {[own_height, own_width]}"
            )
    first = stride // 2
    return _pixels(sizes, counts, np.arange(first, height, stride), np.arange(first, width, stride))


def mask_pixels(rles: Sequence[Rle], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Tensor:
    """The pixels where some rows and columns of masks cross: a part, a sampling, or a nearest-neighbour resize.

    Args:
        rles: G masks.
        rows: [R] their y, ascending from 0 on.
        columns: [C] likewise their x.

    Returns:
        bool [G, R, C]; False beyond the mask.

    Raises:
        TypeError: no run lengths, or counts that are neither bytes nor str.
        ValueError: a wrong size, or damaged counts.
    """
    return _pixels(*_split(rles), rows, columns)


def mass_centers(rles: Sequence[Rle]) -> tuple[Tensor, Tensor]:
    """Mass centres of masks, exactly those of `condinst.ops.mask_centers.reference`, and their areas.

    Args:
        rles: G masks.

    Returns:
        float32 [G, 2] (x, y) px, NaN for an empty mask, and int64 [G] px.

    Raises:
        TypeError: no run lengths, or counts that are neither bytes nor str.
        ValueError: a wrong size, or damaged counts.
    """
    sizes, counts = _split(rles)
    moments = torch.from_numpy(_compiled().rle_moments(sizes, counts))
    area = moments[:, :1].double()
    return (moments[:, 1:].double() / area).float(), moments[:, 0]


def encode_masks(masks: Tensor) -> list[Rle]:
    """Masks as compressed run lengths.

    Args:
        masks: bool [G, H, W], on any device.
    """
    if not len(masks):
        return []
    columns = masks.to("cpu", torch.uint8).mT.contiguous().numpy()  # pycocotools runs down the columns of [H, W, G]
    return coco_mask.encode(columns.transpose(2, 1, 0))


def rle_to_json(rle: Mapping[str, Any]) -> Rle:
    """Compressed run lengths with text in place of bytes, as JSON files have them; pycocotools takes both."""
    counts = rle["counts"]
    return {"size": list(rle["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def draw_polygons(polygons: Sequence[list[float]], height: int, width: int) -> Rle:
    """The mask of polygons [x1, y1, x2, y2, ...] in an image of this size, as pycocotools draws them.

    Raises:
        ValueError: no polygons, or polygons of fewer than three points, with NaN or infinity, too far away, or with an
            outline too long, for pycocotools; a wrong size of the image.
    """
    if not len(polygons):
        raise ValueError("polygons: expected at least one, got none")
    check_outlines(polygons)
    height, width = _checked_size("size", (height, width))
    return coco_mask.merge(coco_mask.frPyObjects(list(polygons), height, width))


def check_outlines(polygons: Sequence[list[float]], most: int = LARGEST_COORDINATE) -> None:
    """Raises a ValueError unless pycocotools can draw these polygons in little memory and time.

    It counts in 32 bits, and takes some 50 bytes and 0.1 microseconds for each pixel of an outline, also outside of the
    image.

    Args:
        polygons: those of one object.
        most: the largest coordinate, in pixels.
    """
    bound = 0.0  # of the outlines; it takes no time
    for polygon in polygons:
        check_points(polygon)
        largest = largest_number(polygon)
        if not largest <= most:
            raise ValueError(f"expected numbers of at most {most} in a polygon")
        bound += len(polygon) * largest
    if bound > LONGEST_OUTLINE:
        outline = sum(map(_outline, polygons))
        if outline > LONGEST_OUTLINE:
            raise ValueError(
                f"expected outlines of {LONGEST_OUTLINE} pixels at most in all polygons of an object, got"
                f" {outline:.0f}; run lengths have no such limit"
            )


def check_points(polygon: Any) -> None:
    """Raises a ValueError unless a polygon is a list of three points or more."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("expected polygons of three points or more, [x1, y1, x2, y2, x3, y3, ...] each")


def largest_number(values: list[Any]) -> float:
    """The largest absolute value; infinity where one of the values is no finite number."""
    if not _NUMBERS.issuperset(map(type, values)):
        return math.inf
    largest = max(map(abs, values))  # depends on the order where there is NaN
    return largest if largest <= _LARGEST_FLOAT and not math.isnan(sum(values)) else math.inf


def _outline(polygon: list[float]) -> float:
    """The pixels of an outline that pycocotools draws."""
    points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(np.roll(points, -1, axis=0) - points).max(axis=1).sum())


def boxes_of_rles(rles: Sequence[Rle]) -> Tensor:
    """The smallest box round each mask, with the far edges outside the last pixel; zeros for an empty one.

    Args:
        rles: G masks with sound counts.

    Returns:
        float32 [G, 4] xyxy px.
    """
    if not rles:
        return torch.zeros(0, 4)
    x, y, width, height = coco_mask.toBbox(list(rles)).T
    return torch.from_numpy(np.stack([x, y, x + width, y + height], axis=1).astype(np.float32))


def _pixels(
    sizes: NDArray[np.int64], counts: list[bytes], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Tensor:
    """`mask_pixels` of what `_split` gives."""
    return torch.from_numpy(_compiled().rle_pixels(sizes, counts, rows, columns))


def _compiled() -> ModuleType:
    """The compiled module."""
    if _host is None:
        raise RuntimeError(
            "condinst._host is not built, which reads run lengths; run `make install` or `pip install .`"
        )
    return _host


def _checked_size(name: str, size: Any) -> tuple[int, int]:
    """The height and width of a mask or a batch."""
    if isinstance(size, (list, tuple)) and len(size) == 2:
        height, width = size
        if isinstance(height, _WHOLE) and isinstance(width, _WHOLE) and height > 0 and width > 0:
            height, width = int(height), int(width)  # NumPy's own products wrap
            if height * width <= MOST_PIXELS:
                return height, width
    raise ValueError(f"{name}: expected a height and a width, {MOST_PIXELS} pixels at most, got {shorten(size)}")


def _split(rles: Sequence[Rle]) -> tuple[NDArray[np.int64], list[bytes]]:
    """Sizes [G, 2] and counts of masks. The compiled module checks the range of sizes, which is quicker there."""
    try:
        sizes = np.array([rle["size"] for rle in rles])
        counts = [rle["counts"] for rle in rles]
    except (KeyError, IndexError, TypeError, ValueError):
        sizes = np.zeros(0)
    if sizes.dtype != _INT64 or sizes.shape != (len(rles), 2):
        sizes, counts = _split_slowly(rles)
    for index, text in enumerate(counts):
        if isinstance(text, str):
            try:
                counts[index] = text.encode("ascii")
            except UnicodeEncodeError as error:
                raise ValueError(f"rles[{index}]: counts: a character outside '0' .. 'o'") from error
        elif not isinstance(text, bytes):
            raise TypeError(f"rles[{index}]: counts: expected bytes or str, got {type(text).__name__}")
    return sizes, counts


def _split_slowly(rles: Sequence[Rle]) -> tuple[NDArray[np.int64], list[Any]]:
    """Sizes and counts, each checked on its own: names the first that is wrong."""
    for index, rle in enumerate(rles):
        if not isinstance(rle, Mapping) or "size" not in rle or "counts" not in rle:
            raise TypeError(f"rles[{index}]: expected a dict of size and counts, got {shorten(rle)}")
    sizes = [_checked_size(f"rles[{index}]: size", rle["size"]) for index, rle in enumerate(rles)]
    return np.array(sizes, dtype=np.int64).reshape(-1, 2), [rle["counts"] for rle in rles]
