"""Instance results of any tool, from a file in COCO's results format."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from condinst.data.coco import CocoInstances, compress
from condinst.messages import shorten

_logger = logging.getLogger(__name__)

Rows = dict[Any, tuple[list[dict[str, Any]], list[dict[str, Any]]]]
"""The boxes and the masks of each image, by its id."""


class _BadRow(ValueError):
    """A result that cannot be scored; the text says why."""


def read_instance_results(path: str | Path, data: CocoInstances) -> tuple[Rows, dict[str, int]]:
    """Reads results, boxes and masks apart: pycocotools takes the area of a result that has both from its box.

    A result that cannot be scored is left out. The kinds of faults are counted, and the first of each is logged.

    Args:
        path: a JSON file, a list of {"image_id", "category_id", "score", "segmentation" and/or "bbox"}; or an object
            with such a list under "annotations" or "predictions". Without "bbox" the box is that of the mask.
        data: the annotated images, whose ids the results must have.

    Returns:
        The results, and the number of results that are left out, by the reason.

    Raises:
        ValueError: no such file, or none of its results can be scored.
    """
    rows = _read_list(Path(path))
    sizes = {image_id: data.image_size(index) for index, image_id in enumerate(data.image_ids)}
    categories = set(data.classes.category_ids)
    results: Rows = {}
    left_out: dict[str, int] = {}
    for index, row in enumerate(rows):
        try:
            box, mask = _read_row(row, data, sizes, categories)
        except _BadRow as error:
            reason, _, got = str(error).partition(": ")
            if reason not in left_out:
                _logger.warning("%s: result %d is left out: %s: %s", path, index, reason, got)
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        boxes, masks = results.setdefault(row["image_id"], ([], []))
        boxes.append(box)
        masks += [] if mask is None else [mask]
    if rows and not results:
        counts = "; ".join(f"{count} with {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"{path}: expected results of {data.annotations}, got {len(rows)} that cannot be scored: {counts}"
        )
    return results, left_out


def _read_list(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON file of results: {error}") from error
    if isinstance(content, dict):
        if "images" in content and "categories" in content and not any("score" in row for row in _first(content)):
            raise ValueError(f"{path}: expected results with scores, got annotations")
        content = content.get("annotations", content.get("predictions"))
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of results, got {shorten(content)}")
    return content


def _first(content: dict[str, Any]) -> list[dict[str, Any]]:
    rows = content.get("annotations")
    return [row for row in rows[:1] if isinstance(row, dict)] if isinstance(rows, list) else []


def _read_row(
    row: Any, data: CocoInstances, sizes: Mapping[Any, tuple[int, int]], categories: set[Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The box of a result and, where it has one, its mask."""
    if not isinstance(row, dict):
        raise _BadRow(f"another type than an object: {shorten(row)}")
    image_id, category_id, score = (row.get(key) for key in ("image_id", "category_id", "score"))
    if not isinstance(image_id, int | str) or image_id not in sizes:
        raise _BadRow(f"an image_id that the data does not have: {shorten(image_id)}")
    if not isinstance(category_id, int | str) or category_id not in categories:
        raise _BadRow(f"a category_id that the data does not have: {shorten(category_id)}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise _BadRow(f"no finite score: {shorten(score)}")
    common = {"image_id": image_id, "category_id": category_id, "score": float(score)}
    mask = None
    if row.get("segmentation"):
        mask = {**common, "segmentation": _run_lengths(data, row["segmentation"], sizes[image_id])}
    box = row.get("bbox")
    if box is None and mask is not None:
        box = rle.toBbox(mask["segmentation"]).tolist()
    if not isinstance(box, list) or not _is_box(box):
        raise _BadRow(f"neither a mask nor a box [x, y, width, height]: {shorten(box)}")
    return {**common, "bbox": [float(number) for number in box]}, mask


def _run_lengths(data: CocoInstances, segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    try:
        checked = data.segmentation({"id": 0, "segmentation": segmentation}, *size)
    except (ValueError, TypeError, LookupError) as error:
        raise _BadRow(f"a bad segmentation: {str(error).rpartition('segmentation: ')[2]}") from error
    if checked is None:  # no pixel in the image
        checked = rle.frPyObjects({"size": [*size], "counts": [size[0] * size[1]]}, *size)
    return compress(checked, *size)


def _is_box(box: list[Any]) -> bool:
    return len(box) == 4 and all(isinstance(number, int | float) and math.isfinite(number) for number in box)
