"""Annotated images: what data sets of COCO files share, whatever is annotated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condinst.classes import Classes
from condinst.data.images import max_pixels, read_image
from condinst.data.objects import Objects
from condinst.geometry import MOST_PIXELS
from condinst.messages import shorten

Target = dict[str, Any]
Window = tuple[int, int, int, int]
Check = tuple[str, Callable[[Any], bool]]

MASK_FACTOR = 8
"""All masks of an image as pixels, of a byte each, may have as many pixels as so many of the largest pictures."""

_ID_BOUND = 2**63  # the libraries that compute with ids take 64 bits
_ID: Check = (
    "a whole number or text",
    lambda value: -_ID_BOUND <= value < _ID_BOUND if type(value) is int else _is_short_text(value, _LONGEST_ID),
)
_LONGEST_ID = 255  # characters of an id that is text
_LONGEST_PATH = 4096  # characters of the name of a file with its folders, and
_LONGEST_PART = 255  # bytes of each of these: what file systems take
_FLAG: Check = ("0 or 1", lambda value: value in (0, 1))
_CHECKS: dict[str, Check] = {
    "id": _ID,
    "image_id": _ID,
    "category_id": _ID,
    "file_name": (
        f"text that can name a file, of at most {_LONGEST_PATH} characters and {_LONGEST_PART} bytes for each folder",
        lambda value: _is_file_name(value),
    ),
    "name": ("text", lambda value: _is_text(value) if type(value) is str else type(value) not in (list, dict)),
    "iscrowd": _FLAG,
    "isthing": _FLAG,
}
"""What the fields of an entry hold; others may hold anything."""
_SEGMENT_CHECKS = _CHECKS | {
    "id": ("a whole number of at least 1", lambda value: type(value) is int and 0 < value < _ID_BOUND),
    "category_id": ("a whole number", lambda value: type(value) is int and abs(value) < _ID_BOUND),
}
_OPTIONAL = ("iscrowd",)
_OTHER_KIND = {
    "instances": ("segments_info", "a panoptic file, for --task panoptic or for a panoptic model or config"),
    "panoptic": ("segmentation", "an instances file, for --task instance or for a model or config without stuff"),
}
"""A field that tells a file of the other kind, and what fits that."""


class AnnotatedImages(Dataset[tuple[Tensor, Target]]):
    """The images of an annotation file. What is on them, `objects` and `target`, is the part of its subclasses.

    Attributes:
        annotations: the file, for messages.
        images_dir: the folder that file names are relative to.
        image_ids: sorted; item `index` is image `image_ids[index]`.
        images: the entry of each image id, with `file_name`, `height` and `width`.
        classes: things, and the stuff of panoptic data, each sorted by category id.
    """

    annotations: Path
    images_dir: Path
    image_ids: list[int]
    images: dict[int, dict[str, Any]]
    classes: Classes

    def _set_images(self, entries: list[dict[str, Any]], annotations: Path, images_dir: Path) -> None:
        self.annotations = annotations
        self.images_dir = images_dir
        self.images = {entry["id"]: entry for entry in entries}
        self.image_ids = sorted(self.images)

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label of a thing."""
        return self.classes.class_names

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The category id of each label of a thing."""
        return self.classes.category_ids

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

    def _check_masks(self, objects: Objects) -> None:
        """Raises a ValueError where the masks of an image as pixels would take too much memory."""
        (height, width), count, most = objects.size, len(objects.segmentations), max_pixels()
        if count and (height * width > most or count * height * width > MASK_FACTOR * most):
            raise ValueError(
                f"{self.annotations}: image {objects.image_id}: expected at most {most} pixels in a mask and"
                f" {MASK_FACTOR * most} in all masks as pixels, got {count} masks of {height} x {width}; the"
                " environment variable CONDINST_MAX_PIXELS raises the limit"
            )

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
        ValueError: a file that is missing, cannot be read or is no JSON; the message names it.
    """
    try:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: not a JSON file that can be read: lists in lists, or objects, too deep") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def check_content(path: Path, content: Any, kind: str, fields: dict[str, tuple[str, ...]]) -> None:
    """Checks that an annotation file has the entries and fields that its readers rely on.

    Args:
        path: the file, for messages.
        content: what it holds.
        kind: "instances" or "panoptic", for messages.
        fields: of the entries of each list of the file. Images need a height and a width of whole pixels, too, no more
            than COCO's run lengths can count, and ids of one type, as categories do.

    Raises:
        ValueError: naming entry and field.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object with {', '.join(fields)}")
    for key, names in fields.items():
        check_entries(path, content.get(key), key, names, kind)
    for key in ("images", "categories"):
        entries = content[key]
        for position, entry in enumerate(entries):
            if type(entry["id"]) is not type(entries[0]["id"]):
                raise ValueError(
                    f"{path}: {key}[{position}]: id: expected all whole numbers or all text, got"
                    f" {shorten(entry['id'])} after {shorten(entries[0]['id'])}"
                )
    for image in content["images"]:
        height, width = image["height"], image["width"]
        if not (type(height) is type(width) is int and min(height, width) > 0 and height * width <= MOST_PIXELS):
            raise ValueError(
                f"{path}: image {image['id']}: expected a height and a width of whole pixels, at most {MOST_PIXELS} in"
                f" all, got {shorten(height)} and {shorten(width)}"
            )


def check_entries(
    path: Path,
    entries: Any,
    key: str,
    fields: tuple[str, ...],
    kind: str,
    checks: Mapping[str, Check] = _CHECKS,
) -> None:
    """Checks one list of an annotation file and the values of its fields; see `check_content`."""
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list under {key!r}, as in a COCO {kind} file")
    checked = [(field, *checks[field]) for field in fields + _OPTIONAL if field in checks]
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {key}[{position}]: expected an object with {', '.join(fields)}")
        missing = [field for field in fields if field not in entry]
        if missing:
            sign, other = _OTHER_KIND.get(kind, ("", ""))
            hint = f"; it looks like {other}" if sign in entry else ""
            raise ValueError(f"{path}: {key}[{position}]: missing {', '.join(missing)} of a COCO {kind} file{hint}")
        for field, expected, fits in checked:
            if field in entry and not fits(entry[field]):
                raise ValueError(
                    f"{path}: {key}[{position}]: {field}: expected {expected}, got {shorten(entry[field])}"
                )


def _is_text(text: str) -> bool:
    """Whether text can be written: JSON may have halves of characters."""
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)


def _is_short_text(value: Any, most: int) -> bool:
    """Whether a value is text of so many characters that can be written."""
    return type(value) is str and len(value) <= most and _is_text(value)


def _is_file_name(value: Any) -> bool:
    """Whether the system can be asked for a file of this name."""
    if not _is_short_text(value, _LONGEST_PATH) or "\0" in value:
        return False
    return len(value) <= _LONGEST_PART // 4 or all(len(part.encode()) <= _LONGEST_PART for part in value.split("/"))


def check_segments_info(path: Path, infos: Any, key: str, kind: str) -> None:
    """Checks the list of segments of one image; see `check_content`."""
    check_entries(path, infos, key, ("id", "category_id"), kind, _SEGMENT_CHECKS)
