"""COCO instance annotations as a torch data set."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from torch import Tensor
from torch.utils.data import Dataset

from condinst.data.images import read_image

Target = dict[str, Any]


class CocoInstances(Dataset[tuple[Tensor, Target]]):
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
        self.annotations = Path(annotations)
        self.images_dir = Path(images_dir)
        self.coco = _read_coco(self.annotations)
        self.image_ids: list[int] = sorted(self.coco.imgs)
        self.category_ids: list[int] = sorted(self.coco.cats)
        self.class_names: tuple[str, ...] = tuple(str(self.coco.cats[i]["name"]) for i in self.category_ids)
        self._label_of = {category: label for label, category in enumerate(self.category_ids)}

    def __len__(self) -> int:
        return len(self.image_ids)

    def image_path(self, index: int) -> Path:
        """The file of image `index`."""
        return self.images_dir / self.coco.imgs[self.image_ids[index]]["file_name"]

    def image(self, index: int) -> Tensor:
        """Image `index` alone, uint8 [3, H, W] RGB.

        Raises:
            ValueError: when its size is not the one in the annotation file.
        """
        info = self.coco.imgs[self.image_ids[index]]
        path = self.image_path(index)
        image = read_image(path)
        if tuple(image.shape[1:]) != (info["height"], info["width"]):
            raise ValueError(
                f"{path}: expected {info['height']} x {info['width']} pixels (height x width) as in"
                f" {self.annotations}, got {image.shape[1]} x {image.shape[2]}"
            )
        return image

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image = self.image(index)
        return image, self.target(index)

    def target(self, index: int, window: tuple[int, int, int, int] | None = None) -> Target:
        """The objects of image `index`, without reading the image.

        Args:
            index: of the image.
            window: (x1, y1, x2, y2) px: leave out objects whose box is outside; decoding them all takes longer than
                the rest of a crop. Coordinates and masks stay those of the whole image.
        """
        image_id = self.image_ids[index]
        info = self.coco.imgs[image_id]
        height, width = info["height"], info["width"]
        boxes, labels, codes = [], [], []
        for annotation in self.coco.imgToAnns[image_id]:
            if annotation.get("iscrowd", 0):
                continue
            x, y, w, h = annotation["bbox"]
            box = (max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
            x1, y1, x2, y2 = window or (0, 0, width, height)
            if min(box[2], x2) <= max(box[0], x1) or min(box[3], y2) <= max(box[1], y1):
                continue
            code = self._run_lengths(annotation, height, width)
            if rle.area(code):
                boxes.append(box)
                labels.append(self._label_of[annotation["category_id"]])
                codes.append(code)
        if codes:
            masks = torch.from_numpy(rle.decode(codes)).permute(2, 0, 1).to(torch.bool)
        else:
            masks = torch.zeros(0, height, width, dtype=torch.bool)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": masks,
            "image_id": image_id,
        }

    def _run_lengths(self, annotation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        """The mask of one annotation as compressed run lengths."""
        where = f"{self.annotations}: annotation {annotation['id']}"
        try:
            code = self.coco.annToRLE(annotation)
            rle.area(code)
        except Exception as error:  # pycocotools raises whatever its C layer stumbles over
            raise ValueError(f"{where}: bad segmentation: {error}") from error
        if list(code["size"]) != [height, width]:
            raise ValueError(f"{where}: expected a mask of {height} x {width}, got {code['size']}")
        return code


def _read_coco(path: Path) -> COCO:
    """Reads and checks an instances file, so that what follows can rely on its fields."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object with images, annotations and categories")
    _check_entries(path, content, "images", ("id", "file_name", "height", "width"))
    _check_entries(path, content, "categories", ("id", "name"))
    _check_entries(path, content, "annotations", ("id", "image_id", "category_id", "bbox", "segmentation"))
    images = {image["id"] for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        where = f"{path}: annotation {annotation['id']}"
        if annotation["image_id"] not in images:
            raise ValueError(f"{where}: image_id {annotation['image_id']} is not among the images")
        if annotation["category_id"] not in categories:
            raise ValueError(f"{where}: category_id {annotation['category_id']} is not among the categories")
        box = annotation["bbox"]
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)):
            raise ValueError(f"{where}: bbox: expected four numbers, got {box}")
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco


def _check_entries(path: Path, content: dict[str, Any], key: str, fields: tuple[str, ...]) -> None:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list under {key!r}, as in a COCO instances file")
    for position, entry in enumerate(entries):
        missing = [field for field in fields if field not in entry]
        if missing:
            raise ValueError(f"{path}: {key}[{position}]: missing {', '.join(missing)}")
