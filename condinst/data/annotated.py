"""Annotated images: what data sets of COCO files share, whatever is annotated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condinst.data.images import read_image
from condinst.data.objects import Objects

Target = dict[str, Any]
Window = tuple[int, int, int, int]


class AnnotatedImages(Dataset[tuple[Tensor, Target]]):
    """The images of an annotation file. What is on them, `objects` and `target`, is the part of its subclasses.

    Attributes:
        annotations: the file, for messages.
        images_dir: the folder that file names are relative to.
        image_ids: sorted; item `index` is image `image_ids[index]`.
        images: the entry of each image id, with `file_name`, `height` and `width`.
        category_ids: of the objects, sorted; a label is a place in this list.
        class_names: their names.
    """

    annotations: Path
    images_dir: Path
    image_ids: list[int]
    images: dict[int, dict[str, Any]]
    category_ids: list[int]
    class_names: tuple[str, ...]

    def _set_images(self, entries: list[dict[str, Any]], annotations: Path, images_dir: Path) -> None:
        self.annotations = annotations
        self.images_dir = images_dir
        self.images = {entry["id"]: entry for entry in entries}
        self.image_ids = sorted(self.images)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image = self.image(index)
        return image, self.target(index)

    @property
    def num_annotations(self) -> int:
        """Number of annotations of all images, crowd regions and stuff among them."""
        raise NotImplementedError

    def image_path(self, index: int) -> Path:
        """The file of image `index`."""
        return self.images_dir / self.images[self.image_ids[index]]["file_name"]

    def image(self, index: int) -> Tensor:
        """Image `index` alone, uint8 [3, H, W] RGB.

        Raises:
            ValueError: when its size is not the one in the annotation file.
        """
        path = self.image_path(index)
        image = read_image(path)
        self.check_size(index, path, image.shape[1], image.shape[2])
        return image

    def check_size(self, index: int, path: Path, height: int, width: int) -> None:
        """Raises a ValueError that names `path` when image `index` is of another size in the annotation file."""
        expected = self.image_size(index)
        if (height, width) != expected:
            raise ValueError(
                f"{path}: expected {expected[0]} x {expected[1]} pixels (height x width) as in"
                f" {self.annotations}, got {height} x {width}"
            )

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of image `index` as the annotation file has it."""
        info = self.images[self.image_ids[index]]
        return info["height"], info["width"]

    def aspect_ratios(self) -> Tensor:
        """Width / height of all images, float32 [N], without reading them."""
        sizes = [self.image_size(index) for index in range(len(self))]
        return torch.tensor([width / height for height, width in sizes], dtype=torch.float32)

    def target(self, index: int) -> Target:
        """The objects of image `index` with their masks as pixels, without reading the image."""
        raise NotImplementedError

    def objects(self, index: int, window: Window | None = None) -> Objects:
        """The objects of image `index` for training; only those near `window` (x1, y1, x2, y2) px, if it is given."""
        raise NotImplementedError


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: a missing file or no JSON; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def check_content(path: Path, content: Any, kind: str, fields: dict[str, tuple[str, ...]]) -> None:
    """Checks that an annotation file has the entries and fields that its readers rely on.

    Args:
        path: the file, for messages.
        content: what it holds.
        kind: "instances" or "panoptic", for messages.
        fields: of the entries of each list of the file. Images need a height and a width of whole pixels, too.

    Raises:
        ValueError: naming the entry.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object with {', '.join(fields)}")
    for key, names in fields.items():
        check_entries(path, content.get(key), key, names, kind)
    for image in content["images"]:
        if not all(type(image[side]) is int and image[side] > 0 for side in ("height", "width")):
            raise ValueError(
                f"{path}: image {image['id']}: expected a height and a width of whole pixels,"
                f" got {image['height']} and {image['width']}"
            )


def check_entries(path: Path, entries: Any, key: str, fields: tuple[str, ...], kind: str) -> None:
    """Checks one list of an annotation file; see `check_content`."""
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list under {key!r}, as in a COCO {kind} file")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {key}[{position}]: expected an object with {', '.join(fields)}")
        missing = [field for field in fields if field not in entry]
        if missing:
            raise ValueError(f"{path}: {key}[{position}]: missing {', '.join(missing)} of a COCO {kind} file")
