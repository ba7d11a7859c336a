"""Random changes of a training image together with its objects."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from condinst.geometry import boxes_of_masks

Target = dict[str, Any]


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


class TrainingTransform:
    """Random scale and crop, mirrorings and colours, drawn from torch's global random numbers.

    Args:
        crop_size: side of the crop in pixels of the network input. 0 leaves image sizes alone (the model resizes
            then); otherwise the result is `crop_size` square, or smaller where the scaled image is.
        scale_range: lowest and highest factor on the scale at which the model is tested; with a crop only.
        min_size, max_size: the shorter side is tested at `min_size` unless the longer one would exceed `max_size`.
        horizontal_flip, vertical_flip: probability of each mirroring.
        transpose: probability of swapping x and y. 0.5 for all three gives every mirroring and quarter turn alike,
            right for images without an up and down.
        colour_jitter: largest relative change of brightness, contrast and saturation.
    """

    def __init__(
        self,
        *,
        crop_size: int = 0,
        scale_range: tuple[float, float] = (1.0, 1.0),
        min_size: int = 800,
        max_size: int = 1333,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        transpose: float = 0.0,
        colour_jitter: float = 0.0,
    ) -> None:
        self.crop_size = crop_size
        self.scale_range = scale_range
        self.min_size = min_size
        self.max_size = max_size
        self.transpose = transpose
        self._flips_and_colours = v2.Compose(
            [
                v2.RandomHorizontalFlip(horizontal_flip),
                v2.RandomVerticalFlip(vertical_flip),
                v2.ColorJitter(colour_jitter, colour_jitter, colour_jitter),
            ]
        )

    def draw_crop(self, height: int, width: int) -> Crop | None:
        """A random part of an image of this size and the scale for it; None where images stay whole."""
        if not self.crop_size:
            return None
        low, high = (math.log(limit) for limit in self.scale_range)
        test_scale = min(self.min_size / min(height, width), self.max_size / max(height, width))
        scale = test_scale * math.exp(_uniform(low, high))
        part_height, new_height = _crop_side(height, self.crop_size, scale)
        part_width, new_width = _crop_side(width, self.crop_size, scale)
        return Crop(
            top=int(torch.randint(height - part_height + 1, ())),
            left=int(torch.randint(width - part_width + 1, ())),
            height=part_height,
            width=part_width,
            new_height=new_height,
            new_width=new_width,
        )

    def __call__(self, image: Tensor, target: Target, crop: Crop | None) -> tuple[Tensor, Target]:
        """Changes one sample.

        Args:
            image: uint8 [3, H, W].
            target: `boxes` float32 [G, 4] xyxy px, `labels` int64 [G], `masks` bool [G, H, W]; other entries are kept.
            crop: what `draw_crop` gave. It is drawn apart so that objects outside it need not be decoded.

        Returns:
            The new image and target, with the objects that are still visible.
        """
        if crop is not None:
            image, target = crop_and_scale(image, target, crop)
        if _uniform(0, 1) < self.transpose:
            image, target = transpose(image, target)
        size = (image.shape[-2], image.shape[-1])
        image, boxes, masks = self._flips_and_colours(
            tv_tensors.Image(image),
            tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size),
            tv_tensors.Mask(target["masks"]),
        )
        plain = {"boxes": boxes.as_subclass(Tensor), "masks": masks.as_subclass(Tensor)}
        return image.as_subclass(Tensor), {**target, **plain}


def crop_and_scale(image: Tensor, target: Target, crop: Crop) -> tuple[Tensor, Target]:
    """Cuts a part out of an image and scales it.

    Args:
        image: uint8 [3, H, W].
        target: see `TrainingTransform`.
        crop: the part and its new size.

    Returns:
        The part (antialiased bilinear, as PIL does it) and its objects: boxes are those of the cropped masks, objects
        outside the part are dropped.
    """
    part = (crop.top, crop.left, crop.height, crop.width)
    new_size = [crop.new_height, crop.new_width]
    image = F.resize(F.crop(image, *part), new_size, antialias=True)

    x1, y1, x2, y2 = target["boxes"].unbind(1)
    left, top, right, bottom = crop.box
    seen = (x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top)
    masks = F.crop(target["masks"], *part)[seen]
    masks = F.resize(masks.to(torch.uint8) * 255, new_size, antialias=True) > 127
    labels = target["labels"][seen]
    kept = masks.flatten(1).any(1)
    masks = masks[kept]
    return image, {**target, "boxes": boxes_of_masks(masks), "labels": labels[kept], "masks": masks}


def transpose(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Swaps x and y of an image and its objects."""
    swapped = {"boxes": target["boxes"][:, [1, 0, 3, 2]], "masks": target["masks"].mT.contiguous()}
    return image.mT.contiguous(), {**target, **swapped}


def _crop_side(side: int, size: int, scale: float) -> tuple[int, int]:
    """Pixels of an image side to take, and what they become: `size`, or less where the whole side is smaller."""
    if side * scale <= size:
        return side, max(1, round(side * scale))
    return min(side, max(1, round(size / scale))), size


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
