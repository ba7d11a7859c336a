"""Instance results of any tool, from a file in COCO's results format."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from condinst.data.coco import CocoInstances
from condinst.data.ids import Id, IdTable, read_id
from condinst.data.json_files import read_json
from condinst.data.object_fields import read_box
from condinst.data.rles import largest_number
from condinst.data.segmentations import read_mask
from condinst.messages import shorten

_logger = logging.getLogger(__name__)

Rows = dict[Any, tuple[list[dict[str, Any]], list[dict[str, Any]]]]
"""The boxes and the masks of each image, by its id."""


class _BadRow(ValueError):
    """A result that cannot be scored; the text says why."""


def read_instance_results(path: str | Path, data: CocoInstances, content: Any = None) -> tuple[Rows, dict[str, int]]:
    """Reads results, boxes and masks apart: pycocotools takes the area of a result that has both from its box.

    A result that cannot be scored is left out. The kinds of faults are counted, and the first of each is logged.

    Args:
        path: a JSON file, a list of {"image_id", "category_id", "score", "segmentation" and/or "bbox"}; or an object
            with such a list under "annotations", "predictions", "results" or "detections". Without
            "bbox" the box is that of the mask.
        data: the annotated images, whose ids the results must have.
        content: what the file holds, where it is read already.

    Returns:
        The results, and the number of results that are left out, by the reason.

    Raises:
        ValueError: no such file, or none of its results can be scored.
    """
    rows = _rows(Path(path), content)
    sizes = {image_id: data.image_size(index) for index, image_id in enumerate(data.image_ids)}
    images, categories = IdTable(sizes), IdTable(data.classes.category_ids)
    results: Rows = {}
    left_out: dict[str, int] = {}
    for index, row in enumerate(rows):
        try:
            box, mask = _read_row(row, images, categories, sizes)
        except _BadRow as error:
            reason, _, got = str(error).partition(": ")
            if reason not in left_out:
                _logger.warning("%s: result %d is left out: %s: %s", path, index, reason, got)
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        boxes, masks = results.setdefault(box["image_id"], ([], []))
        boxes.append(box)
        masks += [] if mask is None else [mask]
    if rows and not results:
        counts = "; ".join(f"{count} with {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"{path}: expected results of {data.annotations}, got {len(rows)} that cannot be scored: {counts}"
        )
    for hint in (_hint_at_categories(rows, categories), _hint_at_boxes(results, sizes)):
        if hint:
            _logger.warning("%s: %s", path, hint)
    if not rows:
        _logger.warning("%s: no results in the file; all objects count as missed", path)
    return results, left_out


def _hint_at_categories(rows: list[Any], categories: IdTable) -> str:
    """A warning where the category ids of the results count from 0 and those of the data from 1; or nothing."""
    values = [row.get("category_id") for row in rows if isinstance(row, dict)]
    ids = {value for value in values if isinstance(value, int)}
    if ids <= categories.exact or not {number + 1 for number in ids} <= categories.exact:
        return ""
    return "the category ids count from 0, it seems, and those of the data do not: the classes may be shifted by 1"


def _hint_at_boxes(results: Rows, sizes: Mapping[Id, tuple[int, int]]) -> str:
    """A warning where most boxes without a mask leave their image, but not as (x1, y1, x2, y2); or nothing."""
    alone = [
        (row["bbox"], sizes[image_id]) for image_id, (boxes, masks) in results.items() if not masks for row in boxes
    ]
    corners = [
        x + w > width + 2 or y + h > height + 2
        for (x, y, w, h), (height, width) in alone
        if x < w <= width + 2 and y < h <= height + 2
    ]
    if 2 * sum(corners) <= len(alone):
        return ""
    return f"{sum(corners)} of {len(alone)} boxes fit only as (x1, y1, x2, y2); results have [x, y, width, height]"


def _rows(path: Path, content: Any) -> list[Any]:
    if content is None:
        content = read_json(path)
    if isinstance(content, dict):
        if "images" in content and "categories" in content and not any("score" in row for row in _first(content)):
            raise ValueError(f"{path}: expected results with scores, got annotations")
        keys = [key for key in ("annotations", "predictions", "results", "detections") if key in content]
        if not keys:
            raise ValueError(
                f"{path}: expected a list of results, or an object with one under 'annotations', 'predictions',"
                f" 'results' or 'detections'; got an object with {shorten(list(content)[:5])}"
            )
        content = content[keys[0]]
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of results, got {shorten(content)}")
    return content


def _first(content: dict[str, Any]) -> list[dict[str, Any]]:
    rows = content.get("annotations")
    return [row for row in rows[:1] if isinstance(row, dict)] if isinstance(rows, list) else []


def _read_row(
    row: Any, images: IdTable, categories: IdTable, sizes: Mapping[Id, tuple[int, int]]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The box of a result and, where it has one, its mask."""
    if not isinstance(row, dict):
        raise _BadRow(f"another type than an object: {shorten(row)}")
    image_id = _find_id(row, "image_id", images)
    category_id = _find_id(row, "category_id", categories)
    score = row.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(largest_number([score])):
        raise _BadRow(f"no finite score: {shorten(score)}")
    common = {"image_id": image_id, "category_id": category_id, "score": float(score)}
    mask = None
    if row.get("segmentation"):
        mask = {**common, "segmentation": _run_lengths(row["segmentation"], *sizes[image_id])}
    if row.get("bbox") is None and mask is not None:
        return {**common, "bbox": rle.toBbox(mask["segmentation"]).tolist()}, mask
    box = read_box(row)
    if box is None:
        raise _BadRow(f"neither a mask nor a box [x, y, width, height]: {shorten(row.get('bbox'))}")
    if mask is None and min(box[2:]) <= 0:
        raise _BadRow(f"neither a mask nor a box with an area: {shorten(row['bbox'])}")
    return {**common, "bbox": [float(number) for number in box]}, mask


def _find_id(row: dict[str, Any], field: str, table: IdTable) -> Id:
    reference = read_id(row.get(field))
    value = None if reference is None else table.find(reference)
    if value is None:
        article = "an" if field[0] in "aeiou" else "a"
        raise _BadRow(f"{article} {field} that the data does not have: {shorten(row.get(field))}")
    return value


def _run_lengths(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    mask = read_mask(segmentation, height, width)
    if mask.problem is not None and not mask.is_empty:
        raise _BadRow(f"a bad segmentation: {mask.problem[1].removeprefix('bad segmentation: ')}")
    return mask.rle(height, width)
