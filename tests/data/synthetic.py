"""Small COCO data sets of bright rectangles on black, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

Box = tuple[int, int, int, int]


def polygon(box: Box) -> list[list[int]]:
    """The outline of a box (x, y, width, height) as COCO writes polygons."""
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def compressed(box: Box, height: int, width: int) -> dict[str, Any]:
    """A filled box as compressed run lengths."""
    code = rle.encode(np.asfortranarray(_fill(box, height, width)))
    return {"size": code["size"], "counts": code["counts"].decode()}


def uncompressed(box: Box, height: int, width: int) -> dict[str, Any]:
    """A filled box as a list of run lengths, down the columns, background first."""
    pixels = _fill(box, height, width).flatten(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=0))
    counts = np.diff(np.concatenate([[0], changes, [pixels.size]]))
    return {"size": [height, width], "counts": counts.tolist()}


def _fill(box: Box, height: int, width: int) -> np.ndarray:
    x, y, w, h = box
    mask = np.zeros((height, width), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def annotation(number: int, image_id: int, box: Box, segmentation: Any, category_id: int = 1) -> dict[str, Any]:
    """One entry of `annotations`."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(box),
        "area": box[2] * box[3],
        "iscrowd": 0,
        "segmentation": segmentation,
    }


def write_json(folder: Path, content: Any) -> Path:
    """Writes an annotation file and returns its path."""
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def write_rectangles(folder: Path, images: int = 4, side: int = 64) -> Path:
    """A data set of square images with two bright rectangles each, `images/0.png` and so on.

    Returns:
        The annotation file; the images are in `folder / "images"`.
    """
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "rectangle"}]}
    for image_id in range(images):
        pixels = np.zeros((side, side, 3), np.uint8)
        for number in range(2):
            w, h = (int(v) for v in random.integers(side // 5, side // 3, 2))
            box = (int(random.integers(side // 2 - w)) + number * side // 2, int(random.integers(side - h)), w, h)
            pixels[box[1] : box[1] + h, box[0] : box[0] + w] = 200
            entry = annotation(2 * image_id + number + 1, image_id, box, compressed(box, side, side))
            content["annotations"].append(entry)
        Image.fromarray(pixels).save(folder / "images" / f"{image_id}.png")
        content["images"].append({"id": image_id, "file_name": f"{image_id}.png", "height": side, "width": side})
    return write_json(folder, content)
