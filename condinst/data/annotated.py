"""Annotated images: what data sets of COCO files share, whatever is annotated."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condinst.classes import Classes
from condinst.data.entry_reader import Content
from condinst.data.file_names import missing_file_hint
from condinst.data.findings import Findings
from condinst.data.ids import Id, sort_key
from condinst.data.image_headers import read_header
from condinst.data.images import max_pixels, read_image
from condinst.data.objects import Objects

Target = dict[str, Any]
Window = tuple[int, int, int, int]

MASK_FACTOR = 8
"""All masks of an image as pixels, of a byte each, may have as many pixels as so many of the largest pictures."""


class AnnotatedImages(Dataset[tuple[Tensor, Target]]):
    """The images of an annotation file. What is on them, `objects` and `target`, is the part of its subclasses.

    Attributes:
        annotations: the file, for messages.
        images_dir: the folder that file names are relative to.
        image_ids: sorted, numbers before text; item `index` is image `image_ids[index]`.
        images: the entry of each image id, with `file_name`, `height` and `width`.
        objects_left_out: the number of objects that were left out then, by the id of their image; None for no image
            that is there.
        findings: what was left out or read in another way when the file was opened.
        classes: things, and the stuff of panoptic data, each sorted by category id.
    """

    annotations: Path
    images_dir: Path
    image_ids: list[Id]
    images: dict[Id, dict[str, Any]]
    findings: Findings
    objects_left_out: Counter[Id | None]
    classes: Classes

    def _set_images(self, content: Content, annotations: Path, images_dir: Path) -> None:
        self.annotations = annotations
        self.images_dir = images_dir
        self.images = {entry["id"]: entry for entry in content.images}
        self.image_ids = sorted(self.images, key=sort_key)
        self.findings = content.findings
        self.objects_left_out = content.objects_left_out

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
            ValueError: when it cannot be read, or its size is not the one in the annotation file.
        """
        path = self.image_path(index)
        try:
            image = read_image(path)
        except ValueError as error:
            hint = "" if os.path.exists(path) else missing_file_hint(self.images[self.image_ids[index]]["file_name"])
            if hint:
                raise ValueError(f"{error}{hint}") from error
            raise
        self.check_size(index, path, image.shape[1], image.shape[2])
        return image

    def check_size(self, index: int, path: Path, height: int, width: int) -> None:
        """Raises a ValueError that names `path` when image `index` is of another size in the annotation file."""
        expected = self.image_size(index)
        if (height, width) == expected:
            return
        hint = ""
        if (width, height) == expected:
            header = read_header(path)
            turned = header is not None and header.upright_size != (header.height, header.width)
            hint = "; the image is turned by EXIF and the annotations are not" if turned else "; the sides are swapped"
        raise ValueError(
            f"{path}: expected {expected[0]} x {expected[1]} pixels (height x width) as in"
            f" {self.annotations}, got {height} x {width}{hint}"
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
