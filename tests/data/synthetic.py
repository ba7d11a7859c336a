"""Small COCO data sets for tests: bright rectangles on black, and panoptic ones."""

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


PANOPTIC_CATEGORIES = [
    {"id": 9, "name": "sky", "isthing": 0},
    {"id": 1, "name": "rectangle", "isthing": 1},
    {"id": 4, "name": "ground", "isthing": 0},
    {"id": 6, "name": "disc", "isthing": 1},
]
"""Things and stuff in turns, not sorted: the labels are rectangle 0, disc 1, ground 2, sky 3."""


def write_panoptic(folder: Path, images: int = 4, side: int = 64) -> Path:
    """A panoptic data set: sky above, ground below, void between; on each image a rectangle and a disc.

    Every second image has a crowd of rectangles, too.

    Returns:
        The annotation file, `panoptic.json`; the images are in `folder / "images"`, the segments in
        `folder / "panoptic"`.
    """
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": PANOPTIC_CATEGORIES}
    for image_id in range(images):
        horizon = int(random.integers(side // 3, side // 2))
        segments = [
            (70_000, 9, 0, rows < horizon),
            (300, 4, 0, rows >= horizon + 2),
        ]
        x, y = (int(v) for v in random.integers(0, side // 4, 2))
        segments.append((5, 1, 0, (columns >= x) & (columns < x + side // 4) & (rows >= y) & (rows < y + side // 3)))
        center = random.integers(5 * side // 8, 6 * side // 8, 2)
        disc = (columns - center[0]) ** 2 + (rows - center[1]) ** 2 < (side // 6) ** 2
        segments.append((256**3 - 1, 6, 0, disc))
        if image_id % 2:
            segments.append((66_000, 1, 1, rows + columns < side // 8))
        ids = np.zeros((side, side), np.int64)
        pixels = np.zeros((side, side, 3), np.uint8)
        for number, category, _, mask in segments:
            ids[mask] = number
            pixels[mask] = (80 if category == 9 else 20, 20 * category, 250 if category in (1, 6) else 0)
        infos = [_segment(ids == number, number, category, crowd) for number, category, crowd, _ in segments]
        Image.fromarray(pixels).save(folder / "images" / f"{image_id}.jpg", quality=95)
        save_ids(folder / "panoptic" / f"{image_id}.png", ids)
        content["images"].append({"id": image_id, "file_name": f"{image_id}.jpg", "height": side, "width": side})
        content["annotations"].append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": infos})
    path = folder / "panoptic.json"
    path.write_text(json.dumps(content))
    return path


def save_ids(path: Path, ids: np.ndarray) -> None:
    """Segment ids [H, W] as COCO's PNG: R + 256 G + 65536 B."""
    channels = [ids % 256, ids // 256 % 256, ids // 65536]
    Image.fromarray(np.stack(channels, axis=2).astype(np.uint8)).save(path)


def _segment(mask: np.ndarray, number: int, category: int, crowd: int) -> dict[str, Any]:
    """One entry of `segments_info`."""
    rows, columns = np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()
    bbox = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    area = int(mask.sum())
    return {"id": number, "category_id": category, "iscrowd": crowd, "bbox": bbox, "area": area}
