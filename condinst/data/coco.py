"""COCO instance annotations as a torch data set."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO

from condinst.classes import Classes
from condinst.data.annotated import AnnotatedImages, Target, Window
from condinst.data.dialects import read_instances
from condinst.data.entry_reader import Content
from condinst.data.ids import sort_key
from condinst.data.json_files import read_json
from condinst.data.object_fields import Box, mask_box
from condinst.data.objects import Objects
from condinst.data.rles import mask_pixels
from condinst.data.segmentations import Mask, bounds, compress, read_mask


class CocoInstances(AnnotatedImages):
    """Images with the objects of a COCO instances file; images without objects are kept.

    An item is an image uint8 [3, H, W] RGB and a target with `boxes` float32 [G, 4] xyxy px, `labels` int64 [G],
    `masks` bool [G, H, W] and `image_id`. Crowd regions and objects without a mask that has pixels in the image are
    left out; `condinst.data.usable.survey` counts them. Boxes are those of the masks, whatever `bbox` says. Labels
    number the file's categories from 0 in the order of their ids, which may have gaps.

    Files are read as different programs write them, see `condinst.data.dialects`. The attribute `findings` has what was
    left out, and what was read in another way.

    Args:
        annotations: a COCO instances JSON file; polygons and RLE, compressed or not.
        images_dir: the folder that the file names in it are relative to.

    Raises:
        ValueError: for a missing file, one in which nothing can be understood, or one in which two images or two
            categories have one id; when an item is read, for an image that is damaged or of another size than the file
            says. The message names the file.
    """

    def __init__(self, annotations: str | Path, images_dir: str | Path) -> None:
        self._set_up(read_json(Path(annotations)), Path(annotations), Path(images_dir))

    @classmethod
    def from_content(cls, content: Any, images_dir: str | Path, name: str | Path) -> CocoInstances:
        """The same from what such a file holds.

        Args:
            content: the dict of the JSON. It is not changed.
            images_dir: the folder that the file names in it are relative to.
            name: where the content is from, for messages.
        """
        data = cls.__new__(cls)
        data._set_up(content, Path(name), Path(images_dir))
        return data

    def _set_up(self, content: Any, annotations: Path, images_dir: Path) -> None:
        entries = read_instances(content, annotations, images_dir)
        self.coco = _index(entries)
        self._set_images(entries, annotations, images_dir)
        self.classes = Classes.from_categories(sorted(entries.categories, key=lambda entry: sort_key(entry["id"])))
        self._label_of = {category: label for label, category in enumerate(self.classes.category_ids)}

    @property
    def num_annotations(self) -> int:
        """Number of annotations, crowd regions among them."""
        return len(self.coco.dataset["annotations"])

    def annotations_of(self, index: int) -> list[dict[str, Any]]:
        """The annotations of image `index`, crowd regions among them."""
        return self.coco.imgToAnns.get(self.image_ids[index], [])

    def mask(self, annotation: dict[str, Any], height: int, width: int) -> Mask:
        """The mask of an annotation of an image of this size, or the reason why it has none."""
        return read_mask(annotation["segmentation"], height, width)

    def target(self, index: int) -> Target:
        """The objects of image `index` with their masks as pixels, without reading the image."""
        objects = self.objects(index)
        height, width = objects.size
        self._check_masks(objects)
        codes = [compress(segmentation, height, width) for segmentation in objects.segmentations]
        return {
            "boxes": objects.boxes,
            "labels": objects.labels,
            "masks": mask_pixels(codes, np.arange(height), np.arange(width)),
            "image_id": objects.image_id,
        }

    def objects(self, index: int, window: Window | None = None) -> Objects:
        """The objects of image `index` without pixels: polygons stay polygons. Those that cannot be used are left out.

        Args:
            index: of the image.
            window: (x1, y1, x2, y2) px: leave out objects whose box is outside; decoding them all takes longer than
                the rest of a crop. Coordinates and masks stay those of the whole image.
        """
        height, width = self.image_size(index)
        boxes, labels, segmentations = [], [], []
        for annotation in self.annotations_of(index):
            if annotation.get("iscrowd", 0) or (window and _is_outside(annotation["segmentation"], window)):
                continue
            mask = self.mask(annotation, height, width)
            if mask.segmentation is None or mask.problem is not None:
                continue
            box = mask_box(mask, height, width)
            if window and not _overlaps(box, window):
                continue
            boxes.append(box)
            labels.append(self._label_of[annotation["category_id"]])
            segmentations.append(mask.segmentation)
        return Objects(
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            segmentations=segmentations,
            size=(height, width),
            image_id=self.image_ids[index],
        )


def _is_outside(segmentation: Any, window: Window) -> bool:
    """Whether polygons surely lie outside of a window; False for all other segmentations."""
    if not isinstance(segmentation, list):
        return False
    try:
        return not _overlaps(bounds(segmentation), window)
    except (TypeError, ValueError, IndexError, KeyError):
        return False


def _overlaps(box: Box, window: Window) -> bool:
    """Whether a box has an area in common with a window; True where there is NaN."""
    return not (box[2] <= window[0] or box[3] <= window[1] or box[0] >= window[2] or box[1] >= window[3])


def _index(content: Content) -> COCO:
    """The index of pycocotools."""
    coco = COCO()
    coco.dataset = {
        "images": content.images,
        "categories": content.categories,
        "annotations": content.annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco
