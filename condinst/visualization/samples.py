"""Pictures of annotated images, with which a data set is checked by eye."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, PngImagePlugin

from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.data.segmentations import compress

from .overlay import draw_predictions
from .panoptic import draw_panoptic

_SIGNATURE = ("Software", "condinst data check")
"""A text in the PNG files, by which the pictures of an earlier check are known."""
_LONGEST_STEM = 60  # characters of the name of an image in that of its picture


class SamplePictures:
    """Pictures of images from all over a data set with their annotations.

    No file is overwritten that is not such a picture of an earlier check.

    Args:
        data: the annotated images.
        folder: for the pictures.
        count: how many, as far as there are images with annotations that can be read.

    Attributes:
        paths: the files that `draw` will write.
    """

    def __init__(self, data: CocoInstances | CocoPanoptic, folder: Path, count: int) -> None:
        self.data = data
        annotated = [index for index in range(len(data)) if _has_annotations(data, index)]
        count = min(count, len(annotated))
        chosen = [annotated[number * len(annotated) // count] for number in range(count)]
        self._indices = [index for index in chosen if os.path.isfile(data.image_path(index))]
        self.paths: list[Path] = []
        for number, index in enumerate(self._indices):
            stem = data.image_path(index).stem[:_LONGEST_STEM]
            self.paths.append(_free_path(folder, f"{number}_{stem}"))

    def draw(self) -> list[str]:
        """Draws the pictures one by one. Returns what went wrong with those that could not be drawn."""
        problems = []
        mark = PngImagePlugin.PngInfo()
        mark.add_text(*_SIGNATURE)
        for index, path in zip(self._indices, self.paths, strict=True):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _draw(self.data, index).save(path, format="PNG", pnginfo=mark)
            except (OSError, ValueError, MemoryError) as error:
                problems.append(f"{path}: not drawn: {error}")
        return problems


def _has_annotations(data: CocoInstances | CocoPanoptic, index: int) -> bool:
    return bool(data.segments_info(index) if isinstance(data, CocoPanoptic) else data.annotations_of(index))


def _draw(data: CocoInstances | CocoPanoptic, index: int) -> Image.Image:
    """An image with its annotations; masks of instances are drawn from run lengths, one at a time."""
    image = data.image(index)
    if isinstance(data, CocoPanoptic):
        return draw_panoptic(image, *data.segments(index), data.classes.panoptic_names)
    objects = data.objects(index)
    codes = [compress(segmentation, *objects.size) for segmentation in objects.segmentations]
    return draw_predictions(image, objects.boxes, objects.labels, None, codes, data.classes.class_names)


def _free_path(folder: Path, stem: str) -> Path:
    """A file that is not there yet, or a picture of an earlier check."""
    path = folder / f"{stem}.png"
    number = 2
    while (path.exists() or path.is_symlink()) and not _is_sample(path):
        path = folder / f"{stem}_{number}.png"
        number += 1
    return path


def _is_sample(path: Path) -> bool:
    """Whether a file is a picture of an earlier check."""
    try:
        with Image.open(path) as image:
            return image.info.get(_SIGNATURE[0]) == _SIGNATURE[1]
    except Exception:  # PIL's parsers raise whatever they stumble over
        return False
