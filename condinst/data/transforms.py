"""Random changes of a training image together with its objects."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from condinst.data.augmentation import AugmentationConfig
from condinst.data.objects import Objects, Polygons
from condinst.data.resize import network_size, resize_image
from condinst.data.rles import Rle, boxes_of_rles, check_points, draw_polygons, encode_masks, mask_pixels, mass_centers

Target = dict[str, Any]
_PASTED_SHARE = 0.5
_PIXELS_AT_A_TIME = 2**24  # of masks that are resized together: each takes several bytes
_LEAST_VISIBLE_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Crop:
    """A part of an image, in pixels of the image, and the size it is brought to."""

    top: int
    left: int
    height: int
    width: int
    new_height: int
    new_width: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The part as (x1, y1, x2, y2)."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclasses.dataclass(frozen=True)
class View:
    """Where an image goes: a part of it is scaled, then x and y are swapped, then it is mirrored.

    Args:
        part: the part and its new size.
        whole: the part is the image; it is scaled as AdelaiDet does it, else as torchvision does.
        transpose, horizontal_flip, vertical_flip: what happens, in this order.
    """

    part: Crop
    whole: bool = False
    transpose: bool = False
    horizontal_flip: bool = False
    vertical_flip: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        height, width = self.part.new_height, self.part.new_width
        return (width, height) if self.transpose else (height, width)

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points [P, 2] (x, y) of the image go."""
        part = self.part
        scale = (part.new_width / part.width, part.new_height / part.height)
        moved = (points - (part.left, part.top)) * scale
        if self.transpose:
            moved = moved[:, ::-1].copy()
        height, width = self.size
        if self.horizontal_flip:
            moved[:, 0] = width - moved[:, 0]
        if self.vertical_flip:
            moved[:, 1] = height - moved[:, 1]
        return moved

    def boxes(self, boxes: Tensor) -> Tensor:
        """Where boxes float32 [G, 4] xyxy go."""
        corners = self.points(boxes.double().numpy().reshape(-1, 2)).reshape(-1, 2, 2)
        ordered = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return torch.from_numpy(ordered.astype(np.float32))

    def turned(self, pixels: Tensor) -> Tensor:
        """Pixels [..., new_height, new_width], swapped and mirrored."""
        if self.transpose:
            pixels = pixels.mT
        mirrored = [axis for axis, flip in ((-1, self.horizontal_flip), (-2, self.vertical_flip)) if flip]
        return (pixels.flip(mirrored) if mirrored else pixels).contiguous()

    def image(self, image: Tensor) -> Tensor:
        """Changes an image uint8 [3, H, W]."""
        part = self.part
        new_size = (part.new_height, part.new_width)
        if self.whole:
            return self.turned(resize_image(image, new_size))
        cropped = F.crop(image, part.top, part.left, part.height, part.width)
        return self.turned(F.resize(cropped, list(new_size), antialias=True))

    def polygons(self, polygons: Polygons) -> Rle:
        """Draws the polygons of an object where they go."""
        for polygon in polygons:
            check_points(polygon)
        moved = [
            self.points(np.array(polygon, dtype=np.float64).reshape(-1, 2)).ravel().tolist() for polygon in polygons
        ]
        return draw_polygons(moved, *self.size)

    def masks(self, rles: Sequence[Rle]) -> list[Rle]:
        """Changes masks of the image.

        Of a whole image their pixels are chosen as in detectron2, by PIL's nearest neighbours; of a part they are
        averaged, and half decides.
        """
        part = self.part
        pixels = max(part.height * part.width, part.new_height * part.new_width)
        count = max(1, _PIXELS_AT_A_TIME // pixels)
        return [code for start in range(0, len(rles), count) for code in self._few_masks(rles[start : start + count])]

    def _few_masks(self, rles: Sequence[Rle]) -> list[Rle]:
        """Changes as many masks as memory should hold as pixels."""
        part = self.part
        if self.whole:
            return encode_masks(self.turned(mask_pixels(rles, *self._chosen())))
        rows, columns = np.arange(part.height) + part.top, np.arange(part.width) + part.left
        pixels = mask_pixels(rles, rows, columns).to(torch.uint8) * 255
        scaled = F.resize(pixels, [part.new_height, part.new_width], antialias=True) > 127
        return encode_masks(self.turned(scaled))

    def semantic(self, labels: Tensor) -> Tensor:
        """Changes labels [H, W] of the image's pixels; nearest neighbours, for an average of labels means nothing."""
        rows, columns = self._chosen()
        return self.turned(labels[torch.from_numpy(rows)[:, None], torch.from_numpy(columns)])

    def _chosen(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows and columns of the image that PIL's nearest-neighbour resize of the part takes."""
        part = self.part
        rows = _nearest(part.height, part.new_height) + part.top
        return rows, _nearest(part.width, part.new_width) + part.left


class TrainingTransform:
    """Random sizes, parts, mirrorings and colours, drawn from torch's global random numbers.

    Without a crop size the whole image is resized to one of the sizes `min_size_train` (numerics 1.1). With one, a
    random part is resized to a random scale, drawn evenly on a logarithmic axis. This is large-scale jitter (Ghiasi et
    al.) with a `scale_range` of (0.1, 2.0), and their Simple Copy-Paste with `copy_paste`.

    Args:
        augmentation: the random changes.
        min_size_test, max_size_test: as in the config of the model; used with a crop only.
        min_size_train, max_size_train: as in the config of the model; used without a crop only.
    """

    def __init__(
        self,
        augmentation: AugmentationConfig,
        *,
        min_size_test: int,
        max_size_test: int,
        min_size_train: Sequence[int],
        max_size_train: int,
    ) -> None:
        self.augmentation = augmentation
        self.min_size_test = min_size_test
        self.max_size_test = max_size_test
        self.min_size_train = tuple(min_size_train)
        self.max_size_train = max_size_train
        jitter = augmentation.colour_jitter
        self._change_colours = v2.ColorJitter(jitter, jitter, jitter)

    def draw_crop(self, height: int, width: int) -> Crop | None:
        """A random part of an image of this size and the scale for it; None where images stay whole."""
        augmentation = self.augmentation
        if not augmentation.crop_size:
            return None
        low, high = (math.log(limit) for limit in augmentation.scale_range)
        test_scale = min(self.min_size_test / min(height, width), self.max_size_test / max(height, width))
        scale = test_scale * math.exp(low + (high - low) * float(torch.rand(())))
        part_height, new_height = _crop_side(height, augmentation.crop_size, scale)
        part_width, new_width = _crop_side(width, augmentation.crop_width or augmentation.crop_size, scale)
        return Crop(
            top=int(torch.randint(height - part_height + 1, ())),
            left=int(torch.randint(width - part_width + 1, ())),
            height=part_height,
            width=part_width,
            new_height=new_height,
            new_width=new_width,
        )

    def __call__(
        self,
        image: Tensor,
        objects: Objects,
        crop: Crop | None,
        other: Callable[[], tuple[Tensor, Objects]] | None = None,
    ) -> tuple[Tensor, Target]:
        """Changes one sample.

        Args:
            image: uint8 [3, H, W].
            objects: those of the image; with a crop, those near it are enough.
            crop: what `draw_crop` gave. It is drawn apart so that objects outside it need not be read.
            other: gives another image with all its objects, to copy some of them; called only when they are wanted.

        Returns:
            The image uint8 [3, h, w] as the network will see it, not padded, and a target with `boxes` float32 [G, 4]
            xyxy px, `labels` int64 [G], `rles`, G masks as compressed run lengths of size [h, w], and `image_id`;
            `semantic`, int16 [h, w], where the objects have one, pasted objects with their labels.
            Objects without a pixel are left out. The boxes of a whole image are those of its annotations; those of a
            part, and of objects that were pasted or covered, are the boxes of the masks.
        """
        changed, target = self._change(image, objects, crop)
        if other is not None and _happens(self.augmentation.copy_paste):
            other_image, other_objects = other()
            other_crop = self.draw_crop(other_image.shape[1], other_image.shape[2])
            pasted_image, pasted = self._change(other_image, other_objects, other_crop)
            chosen = torch.rand(len(pasted["labels"])) < _PASTED_SHARE
            return paste(changed, target, pasted_image, _select(pasted, chosen))
        return changed, target

    def _change(self, image: Tensor, objects: Objects, crop: Crop | None) -> tuple[Tensor, Target]:
        """Draws and makes one image's changes, pasting aside."""
        height, width = image.shape[1], image.shape[2]
        part = crop
        if part is None:
            shorter = self.min_size_train[int(torch.randint(len(self.min_size_train), ()))]
            part = Crop(0, 0, height, width, *network_size(height, width, shorter, self.max_size_train))
        view = View(
            part,
            whole=crop is None,
            transpose=_happens(self.augmentation.transpose),
            horizontal_flip=_happens(self.augmentation.horizontal_flip),
            vertical_flip=_happens(self.augmentation.vertical_flip),
        )
        return self._change_colours(view.image(image)), change_objects(objects, view)


def change_objects(objects: Objects, view: View) -> Target:
    """The objects that are still visible, where a view puts them; see `TrainingTransform` for the result."""
    x1, y1, x2, y2 = objects.boxes.unbind(1)
    left, top, right, bottom = view.part.box
    seen = (x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top)
    segmentations = [
        segmentation for segmentation, is_seen in zip(objects.segmentations, seen.tolist(), strict=True) if is_seen
    ]
    coded = iter(view.masks([segmentation for segmentation in segmentations if isinstance(segmentation, dict)]))
    rles = [next(coded) if isinstance(entry, dict) else view.polygons(entry) for entry in segmentations]
    target: Target = {
        "boxes": view.boxes(objects.boxes[seen]) if view.whole else boxes_of_rles(rles),
        "labels": objects.labels[seen],
        "rles": rles,
        "image_id": objects.image_id,
    }
    if objects.semantic is not None:
        target["semantic"] = view.semantic(objects.semantic)
    return _select(target, mass_centers(rles)[1] > 0)


def paste(image: Tensor, target: Target, other_image: Tensor, other: Target) -> tuple[Tensor, Target]:
    """Lays objects of another image over an image, both with their top left corners in one place.

    Args:
        image: uint8 [3, H, W].
        target: its objects, see `TrainingTransform`. One that is covered so that less than a tenth of it is left, is
            dropped.
        other_image: uint8 [3, h, w]; what is outside `image` is lost.
        other: the objects to paste, all of them.

    Returns:
        The image and all objects, the pasted ones last.
    """
    height, width = image.shape[1], image.shape[2]
    masks = mask_pixels(other["rles"], np.arange(height), np.arange(width))
    kept = masks.flatten(1).any(1)
    if not kept.any():
        return image, target
    covered = masks.any(0)
    image = image.clone()
    rows, columns = min(height, other_image.shape[1]), min(width, other_image.shape[2])
    inside = covered[:rows, :columns]  # all of it, since masks are no larger than their image
    image[:, :rows, :columns][:, inside] = other_image[:, :rows, :columns][:, inside]

    (free,) = encode_masks(~covered[None])
    left = [coco_mask.merge([rle, free], intersect=True) for rle in target["rles"]]
    areas, areas_left = mass_centers(target["rles"])[1], mass_centers(left)[1]
    whole = areas == areas_left
    boxes = torch.where(whole[:, None], target["boxes"], boxes_of_rles(left))
    below = _select({**target, "boxes": boxes, "rles": left}, areas_left >= _LEAST_VISIBLE_SHARE * areas)
    above = encode_masks(masks[kept])
    joined: Target = {
        "boxes": torch.cat([below["boxes"], boxes_of_rles(above)]),
        "labels": torch.cat([below["labels"], other["labels"][kept]]),
        "rles": below["rles"] + above,
    }
    if "semantic" in target:
        joined["semantic"] = target["semantic"].clone()
        for mask, label in zip(masks[kept], other["labels"][kept].tolist(), strict=True):
            joined["semantic"][mask] = label
    return image, {**target, **joined}


def _select(target: Target, chosen: Tensor) -> Target:
    """The objects of a target that a mask bool [G] names."""
    rles = [rle for rle, is_chosen in zip(target["rles"], chosen.tolist(), strict=True) if is_chosen]
    return {**target, "boxes": target["boxes"][chosen], "labels": target["labels"][chosen], "rles": rles}


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """The pixels of a side that PIL's nearest-neighbour resize takes."""
    places = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    return np.array(places.resize((new, 1), Image.Resampling.NEAREST))[0].astype(np.int64)


def _crop_side(side: int, size: int, scale: float) -> tuple[int, int]:
    """Pixels of an image side to take, and what they become: `size`, or less where the whole side is smaller."""
    if side * scale <= size:
        return side, max(1, round(side * scale))
    return min(side, max(1, round(size / scale))), size


def _happens(probability: float) -> bool:
    return float(torch.rand(())) < probability
