"""The masks of annotations as different programs write them: polygons in several shapes of lists, and run lengths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from condinst.data.objects import Polygons, Segmentation
from condinst.data.rles import check_outlines, largest_number, mass_centers
from condinst.messages import shorten, shorten_text

LARGEST_COORDINATE = 1_000_000  # of a polygon in a file, in pixels; far outside of any image
NO_MASK = "annotations without a mask"
BAD_SEGMENTATION = "annotations with a bad segmentation"
NO_PIXEL = "masks without area"
NORMALISED = "polygons with coordinates of 0 to 1 in place of pixels"
BAD_PARTS = "polygons with parts that are left out"
FLOAT_RUNS = "run lengths that are floats"
OTHER_LISTS = "polygons in other lists than COCO's [[x1, y1, x2, y2, ...]]"

FILLED_HOLES = "polygons inside of another one, which are filled and may be holes as in GeoJSON"

_RINGS = "rings in rings, as for the holes of GeoJSON"
_NUMBERS = (int, float)
_DEEPEST = 4  # lists in lists


@dataclasses.dataclass(frozen=True)
class Mask:
    """The mask of an annotation.

    Args:
        segmentation: polygons or compressed run lengths that can be drawn; None where there are none.
        code: compressed run lengths, where they had to be made; None where the mask surely has pixels without.
        problem: a kind of finding and the reason why the object cannot be used; None for one that can.
        notes: what was left out of the mask or read in another way, as kinds with details.
    """

    segmentation: Segmentation | None
    code: dict[str, Any] | None = None
    problem: tuple[str, str] | None = None
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it is sound and has no pixel in the image."""
        return self.problem is not None and self.problem[0] == NO_PIXEL

    def rle(self, height: int, width: int) -> dict[str, Any]:
        """Compressed run lengths; those of an empty mask where there is no segmentation."""
        if self.code is not None:
            return self.code
        if self.segmentation is None:
            return empty_rle(height, width)
        return compress(self.segmentation, height, width)


def read_mask(value: Any, height: int, width: int) -> Mask:
    """The mask that a `segmentation` of a file describes.

    Args:
        value: of the file, of any type.
        height, width: of the image, px.
    """
    notes: list[tuple[str, str]] = []
    try:
        segmentation = _read_segmentation(value, height, width, notes)
    except ValueError as error:
        return Mask(None, problem=(BAD_SEGMENTATION, f"bad segmentation: {error}"), notes=tuple(notes))
    if not segmentation:
        return Mask(None, problem=(NO_MASK, f"segmentation {shorten(value)}"))
    if isinstance(segmentation, list):
        if _is_normalised(segmentation, height, width):
            corner = ", ".join(map(shorten, segmentation[0][:4]))
            return Mask(segmentation, problem=(NORMALISED, f"{corner}, ..."), notes=tuple(notes))
        if any(is_plainly_inside(polygon, height, width) for polygon in segmentation):
            return Mask(segmentation, notes=tuple(notes))
    try:
        code = compress(segmentation, height, width)
        area = int(mass_centers([code])[1])
    except ValueError as error:
        return Mask(None, problem=(BAD_SEGMENTATION, f"bad segmentation: {error}"), notes=tuple(notes))
    if not area:
        return Mask(segmentation, code, (NO_PIXEL, _where(segmentation, height, width)), tuple(notes))
    return Mask(segmentation, code, notes=tuple(notes))


def compress(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Checked polygons, or compressed run lengths, as compressed run lengths of this size."""
    if isinstance(segmentation, dict):
        return segmentation
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def empty_rle(height: int, width: int) -> dict[str, Any]:
    """The run lengths of a mask without pixels."""
    return coco_mask.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)


def bounds(polygons: Polygons) -> tuple[float, float, float, float]:
    """The smallest box (x1, y1, x2, y2) round the points of polygons."""
    return (
        min(min(polygon[::2]) for polygon in polygons),
        min(min(polygon[1::2]) for polygon in polygons),
        max(max(polygon[::2]) for polygon in polygons),
        max(max(polygon[1::2]) for polygon in polygons),
    )


def is_plainly_inside(polygon: list[float], height: int, width: int) -> bool:
    """Whether a polygon lies in the image and surely has pixels; False means: not decided.

    A circle of radius area / perimeter fits into it, and one of radius 1 holds the centre of a pixel.
    """
    xs, ys = polygon[::2], polygon[1::2]
    if min(xs) < 0 or min(ys) < 0 or max(xs) > width or max(ys) > height:
        return False
    doubled_area = perimeter = 0.0
    x0, y0 = xs[-1], ys[-1]
    for x1, y1 in zip(xs, ys, strict=True):
        doubled_area += x0 * y1 - x1 * y0
        perimeter += math.hypot(x1 - x0, y1 - y0)
        x0, y0 = x1, y1
    return abs(doubled_area) > 2 * perimeter


def _read_segmentation(value: Any, height: int, width: int, notes: list[tuple[str, str]]) -> Segmentation | None:
    """Polygons or run lengths that can be drawn; None for no mask at all.

    Raises:
        ValueError: neither.
    """
    if value is None or (isinstance(value, (list, dict, str)) and not value):
        return None
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "counts" in value[0]:
        value = value[0]
    if isinstance(value, list):
        try:
            check_outlines(value, LARGEST_COORDINATE)
        except ValueError:
            return _read_polygons(value, notes)
        return value
    if isinstance(value, dict):
        return _read_run_lengths(value, height, width, notes)
    kind = "text" if isinstance(value, str) else type(value).__name__
    raise ValueError(f"expected a list of polygons, or run lengths with size and counts, got {kind}: {shorten(value)}")


def _read_polygons(value: list[Any], notes: list[tuple[str, str]]) -> Polygons | None:
    """The sound polygons of lists that are not all as COCO writes them; the others are noted.

    Raises:
        ValueError: none is sound, or they are too large together.
    """
    polygons: Polygons = []
    problems = []
    for part in _parts(value, _DEEPEST):
        problem = _part_problem(part)
        if problem:
            problems.append(problem)
        else:
            polygons.append(part)
    if not polygons:
        if problems:
            raise ValueError(problems[0])
        return None
    check_outlines(polygons, LARGEST_COORDINATE)
    if problems:
        notes.append((BAD_PARTS, f"{len(problems)} of {len(problems) + len(polygons)} parts: {problems[0]}"))
    if any(polygon is not part for polygon, part in zip(polygons, value, strict=False)) and not problems:
        notes.append((OTHER_LISTS, shorten(value)))
    if _has_rings(value) and any(_is_inside(polygon, polygons[0]) for polygon in polygons[1:]):
        notes.append((FILLED_HOLES, shorten(value)))
    return polygons


def _is_inside(polygon: list[float], outer: list[float]) -> bool:
    """Whether all points of a polygon lie inside of another one."""
    xs, ys = np.array(polygon[::2]), np.array(polygon[1::2])
    inside = np.zeros(len(xs), bool)
    x0, y0 = outer[-2:]
    for x1, y1 in zip(outer[::2], outer[1::2], strict=True):
        if y0 != y1:
            inside ^= ((y0 > ys) != (y1 > ys)) & (xs < (x1 - x0) * (ys - y0) / (y1 - y0) + x0)
        x0, y0 = x1, y1
    return bool(inside.all())


def _parts(value: list[Any], depth: int) -> Iterator[Any]:
    """The polygons in lists of any of the usual shapes, each as [x1, y1, ...]; all else is left as it is."""
    if not value:
        return
    if any(isinstance(number, _NUMBERS) for number in value):
        yield value
        return
    points = [_point(element) for element in value]
    if all(point is not None for point in points) and len(points) > 2:
        yield [number for point in points if point is not None for number in point]
        return
    for element in value:
        if not isinstance(element, list) or depth == 0:
            yield element
        elif _has_rings(element):
            yield _RINGS
        else:
            yield from _parts(element, depth - 1)


def _has_rings(value: list[Any]) -> bool:
    """Whether a list holds several lists of points, of which GeoJSON takes all but the first for holes."""
    return len(value) > 1 and all(
        isinstance(ring, list) and len(ring) > 2 and all(_point(point) is not None for point in ring) for ring in value
    )


def _point(value: Any) -> tuple[float, float] | None:
    """A point that is written as a list of two numbers, or as an object of x and y."""
    if isinstance(value, dict) and value.keys() == {"x", "y"}:
        value = [value["x"], value["y"]]
    if isinstance(value, list) and len(value) == 2 and type(value[0]) in _NUMBERS and type(value[1]) in _NUMBERS:
        return value[0], value[1]
    return None


def _part_problem(part: Any) -> str:
    """Why a part of a segmentation is no polygon; empty for one that is."""
    if not isinstance(part, list):
        kind = part if part is _RINGS else shorten(part)
        return f"expected polygons of three points or more, [x1, y1, x2, y2, x3, y3, ...] each, got {kind}"
    others = [number for number in part if type(number) not in _NUMBERS]
    if others:
        return f"expected numbers in a polygon, got {shorten(others[0])}"
    if len(part) == 4:
        return f"expected polygons of three points or more, got four numbers, as of a box (xywh): {shorten(part)}"
    if len(part) % 2:
        return f"expected polygons of x and y in turns, got {len(part)} numbers"
    if len(part) < 6:
        return f"expected polygons of three points or more, got {len(part) // 2}: {shorten(part)}"
    if not largest_number(part) <= LARGEST_COORDINATE:
        return f"expected numbers of at most {LARGEST_COORDINATE} in a polygon"
    return ""


def _is_normalised(polygons: Polygons, height: int, width: int) -> bool:
    """Whether coordinates are shares of the image: all in 0..1, and not all whole, in an image of more pixels."""
    if not -0.01 <= polygons[0][0] <= 1.01 or max(height, width) <= 2:
        return False
    numbers = [number for polygon in polygons for number in polygon]
    return min(numbers) >= -0.01 and max(numbers) <= 1.01 and any(number != int(number) for number in numbers)


def _read_run_lengths(
    value: Mapping[str, Any], height: int, width: int, notes: list[tuple[str, str]]
) -> dict[str, Any]:
    """Run lengths, compressed; their counts are not checked where they are compressed already.

    Raises:
        ValueError: no run lengths of this size.
    """
    if "counts" not in value or "size" not in value:
        keys = shorten_text(", ".join(sorted(map(shorten, value))))
        raise ValueError(f"expected a list of polygons, or run lengths with size and counts, got an object of {keys}")
    size = value["size"]
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        swapped = isinstance(size, list) and size == [width, height]
        hint = ": height and width are swapped" if swapped else ""
        raise ValueError(f"expected a mask of {height} x {width}, got {shorten(size)}{hint}")
    counts = value["counts"]
    if isinstance(counts, list):
        counts = _whole_runs(counts, notes)
        if min(counts, default=0) < 0 or sum(counts) != height * width:
            raise ValueError(
                f"expected run lengths that add up to the {height * width} pixels of the mask, got a sum of"
                f" {shorten(sum(counts))}"
            )
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if isinstance(counts, str):
        if not counts.isascii():
            raise ValueError("counts: expected characters from '0' to 'o', got one outside of ASCII")
        if counts.startswith(("b'", 'b"')):
            raise ValueError("counts: expected run lengths, got Python's bytes as text, b'...'")
        counts = counts.encode("ascii")
    if not isinstance(counts, bytes):
        raise ValueError(f"expected counts that are a list or a string, got {type(counts).__name__}")
    return {"size": [height, width], "counts": counts}


def _whole_runs(counts: list[Any], notes: list[tuple[str, str]]) -> list[int]:
    """A list of run lengths as whole numbers, which floats such as 12.0 become."""
    if all(type(run) is int for run in counts):
        return counts
    for run in counts:
        if type(run) not in _NUMBERS:
            raise ValueError(f"expected run lengths that are whole numbers, got {shorten(run)}")
        if isinstance(run, float) and not run.is_integer():
            raise ValueError(f"run lengths are floats: expected whole numbers, got {run}")
    notes.append((FLOAT_RUNS, f"{shorten(counts)}"))
    return [int(run) for run in counts]


def _where(segmentation: Segmentation, height: int, width: int) -> str:
    """Where a mask without a pixel lies, for a message."""
    if isinstance(segmentation, dict):
        return "all pixels are background"
    x1, y1, x2, y2 = bounds(segmentation)
    place = f"({x1:.4g}, {y1:.4g}, {x2:.4g}, {y2:.4g})"
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return f"outside of the image of {width} x {height}: {place}"
    return f"no pixel in it: {place}"
