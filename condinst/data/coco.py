"""COCO instance annotations as a torch data set."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO

from condinst.classes import Classes
from condinst.data.annotated import AnnotatedImages, Target, Window, check_content, read_json
from condinst.data.objects import Objects, Segmentation
from condinst.data.rles import check_outlines, largest_number, mask_pixels, mass_centers
from condinst.messages import shorten

_FIELDS = {
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "segmentation"),
}
_LARGEST_COORDINATE = 1_000_000  # of a polygon in a file, in pixels; far outside of any image
_LARGEST_BOX = 1_000_000_000  # of a box, which nothing is drawn of


class CocoInstances(AnnotatedImages):
    """Images with the objects of a COCO instances file; images without objects are kept.

    An item is an image uint8 [3, H, W] RGB and a target with `boxes` float32 [G, 4] xyxy px, `labels` int64 [G],
    `masks` bool [G, H, W] and `image_id`. Crowd regions and objects without area inside the image are left out.
    Labels number the file's categories from 0 in the order of their ids, which may have gaps.

    Args:
        annotations: a COCO instances JSON file; polygons and RLE, compressed or not.
        images_dir: the folder that the file names in it are relative to.

    Raises:
        ValueError: for a missing file or one that is not such a JSON; when an item is read, for a bad annotation or
            an image of another size than the file says. The message names the file.
    """

    def __init__(self, annotations: str | Path, images_dir: str | Path) -> None:
        self._set_up(read_json(Path(annotations)), Path(annotations), Path(images_dir))

    @classmethod
    def from_content(cls, content: Any, images_dir: str | Path, name: str | Path) -> CocoInstances:
        """The same from what such a file holds.

        Args:
            content: the dict of the JSON.
            images_dir: the folder that the file names in it are relative to.
            name: where the content is from, for messages.
        """
        data = cls.__new__(cls)
        data._set_up(content, Path(name), Path(images_dir))
        return data

    def _set_up(self, content: Any, annotations: Path, images_dir: Path) -> None:
        self.coco = _index(content, annotations)
        self._set_images(content["images"], annotations, images_dir)
        self.classes = Classes.from_categories(self.coco.cats[number] for number in sorted(self.coco.cats))
        self._label_of = {category: label for label, category in enumerate(self.classes.category_ids)}

    @property
    def num_annotations(self) -> int:
        """Number of annotations, crowd regions among them."""
        return len(self.coco.dataset["annotations"])

    def target(self, index: int) -> Target:
        """The objects of image `index` with their masks as pixels, without reading the image."""
        objects = self.objects(index)
        height, width = objects.size
        self._check_masks(objects)
        codes = [compress(segmentation, height, width) for segmentation in objects.segmentations]
        seen = mass_centers(codes)[1] > 0  # a polygon between the pixels is none
        masks = mask_pixels(codes, np.arange(height), np.arange(width))
        return {
            "boxes": objects.boxes[seen],
            "labels": objects.labels[seen],
            "masks": masks[seen],
            "image_id": objects.image_id,
        }

    def objects(self, index: int, window: Window | None = None) -> Objects:
        """The objects of image `index` without pixels: polygons stay polygons.

        Args:
            index: of the image.
            window: (x1, y1, x2, y2) px: leave out objects whose box is outside; decoding them all takes longer than
                the rest of a crop. Coordinates and masks stay those of the whole image.

        Raises:
            ValueError: a bad segmentation; the message names file and annotation.
        """
        height, width = self.image_size(index)
        boxes, labels, segmentations = [], [], []
        for annotation in self.coco.imgToAnns[self.image_ids[index]]:
            if annotation.get("iscrowd", 0):
                continue
            x, y, w, h = annotation["bbox"]
            box = (max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
            x1, y1, x2, y2 = window or (0, 0, width, height)
            if min(box[2], x2) <= max(box[0], x1) or min(box[3], y2) <= max(box[1], y1):
                continue
            segmentation = self.segmentation(annotation, height, width)
            if segmentation is not None:
                boxes.append(box)
                labels.append(self._label_of[annotation["category_id"]])
                segmentations.append(segmentation)
        return Objects(
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            segmentations=segmentations,
            size=(height, width),
            image_id=self.image_ids[index],
        )

    def segmentation(self, annotation: dict[str, Any], height: int, width: int) -> Segmentation | None:
        """The checked mask of one annotation of an image of this size; None where it has no pixel inside.

        Raises:
            ValueError: neither polygons nor sound run lengths; the message names file and annotation.
        """
        try:
            segmentation = _check_segmentation(annotation["segmentation"], height, width)
            return segmentation if _has_area(segmentation, height, width) else None
        except ValueError as error:
            message = f"{self.annotations}: annotation {annotation['id']}: bad segmentation: {error}"
            raise ValueError(message) from error


def compress(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Checked polygons, or compressed run lengths, as compressed run lengths of this size."""
    if isinstance(segmentation, dict):
        return segmentation
    return rle.merge(rle.frPyObjects(segmentation, height, width))


def _check_segmentation(segmentation: Any, height: int, width: int) -> Segmentation:
    """Polygons as they are, run lengths compressed. Checks what pycocotools would read blindly."""
    if isinstance(segmentation, list):
        check_outlines(segmentation, _LARGEST_COORDINATE)
        return segmentation
    if not isinstance(segmentation, dict) or "counts" not in segmentation or "size" not in segmentation:
        raise ValueError("expected a list of polygons, or run lengths with size and counts")
    if not isinstance(segmentation["size"], (list, tuple)) or list(segmentation["size"]) != [height, width]:
        raise ValueError(f"expected a mask of {height} x {width}, got {shorten(segmentation['size'])}")
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts) or sum(counts) != height * width:
            raise ValueError(f"expected run lengths that add up to the {height * width} pixels of the mask")
        return rle.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if not isinstance(counts, (str, bytes)):
        raise ValueError(f"expected counts that are a list or a string, got {type(counts).__name__}")
    return {"size": [height, width], "counts": counts if isinstance(counts, bytes) else counts.encode("ascii")}


def _has_area(segmentation: Segmentation, height: int, width: int) -> bool:
    """Whether a mask has a pixel inside the image. Run lengths are checked on the way."""
    if isinstance(segmentation, list):
        if any(_is_plainly_inside(polygon, height, width) for polygon in segmentation):
            return True
        if not segmentation:
            return False
    return int(mass_centers([compress(segmentation, height, width)])[1]) > 0


def _is_plainly_inside(polygon: list[float], height: int, width: int) -> bool:
    """Whether a polygon lies in the image and surely has pixels; False is no answer.

    A circle of radius area / perimeter fits into it, and one of radius 1 holds the centre of a pixel.
    """
    points = np.array(polygon).reshape(-1, 2)
    if (points < 0).any() or (points > (width, height)).any():
        return False
    edges = np.roll(points, -1, axis=0) - points
    doubled_area = abs(float((points[:, 0] * edges[:, 1] - points[:, 1] * edges[:, 0]).sum()))
    return doubled_area > 2 * float(np.hypot(edges[:, 0], edges[:, 1]).sum())


def _index(content: Any, path: Path) -> COCO:
    """Checks the content of an instances file, so that what follows can rely on its fields."""
    check_content(path, content, "instances", _FIELDS)
    images = {image["id"] for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        where = f"{path}: annotation {annotation['id']}"
        if annotation["image_id"] not in images:
            raise ValueError(f"{where}: image_id {annotation['image_id']} is not among the images")
        if annotation["category_id"] not in categories:
            raise ValueError(f"{where}: category_id {annotation['category_id']} is not among the categories")
        box = annotation["bbox"]
        if not (isinstance(box, list) and len(box) == 4 and largest_number(box) <= _LARGEST_BOX):
            raise ValueError(f"{where}: bbox: expected four numbers of at most {_LARGEST_BOX}, got {shorten(box)}")
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco
