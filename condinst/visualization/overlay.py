"""Masks, contours, boxes and names drawn over an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask
from torch import Tensor

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

_MASK_OPACITY = 0.4
_BOX_OPACITY = 0.6
_LOWEST_BRIGHTNESS = 0.45
GOLDEN_RATIO = 0.6180339887498949


def draw_predictions(
    image: Tensor,
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    masks: Tensor | Sequence[dict[str, Any]],
    class_names: Sequence[str] = (),
) -> Image.Image:
    """The image with its objects drawn over it.

    Lines and text grow with the image; the k-th object always has the k-th colour. A name is left out where
    it would be more than twice as wide as its object's box or would touch the name of an object before it,
    so that crowds of small objects stay visible.

    Args:
        image: uint8 [3, H, W] RGB.
        boxes: [K, 4] (x1, y1, x2, y2) in pixels.
        labels: int64 [K].
        scores: [K] in 0..1; None for annotations, which have none.
        masks: bool [K, H, W], or K COCO run lengths, of which one at a time is decoded.
        class_names: the name of each label; without, the label itself is written.

    Returns:
        An RGB image of W x H pixels.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    count, size = len(boxes), max(image.shape[1:])
    for name, value, shape in (
        ("labels", labels, (count,)),
        ("scores", scores, (count,)),
    ):
        if value is not None and value.shape != shape:
            raise ValueError(f"{name}: expected {list(shape)} for these boxes, got {list(value.shape)}")
    pixels = image.permute(1, 2, 0).cpu().numpy().copy()
    if len(masks) != count:
        raise ValueError(f"masks: expected {count} for these boxes, got {len(masks)}")
    objects = []
    for index, (mask, box) in enumerate(zip(masks, boxes.tolist(), strict=True)):
        pixels_of_mask = mask.cpu().numpy() if isinstance(mask, Tensor) else coco_mask.decode(mask).astype(bool)
        if pixels_of_mask.shape != image.shape[1:]:
            raise ValueError(f"masks: expected {list(image.shape[1:])} pixels, got {list(pixels_of_mask.shape)}")
        window = _bounding_window(pixels_of_mask)
        objects.append(_Object(pixels_of_mask[window].copy(), window, box, instance_colour(index)))
    # Large ones first: what lies in front of an object is mostly smaller than it.
    objects.sort(key=lambda one: -np.count_nonzero(one.mask))
    _tint(pixels, objects)
    pixels = _draw_boxes(pixels, objects, width=max(1, round(size / 900)))
    _draw_contours(pixels, objects, width=max(1, round(size / 700)))

    canvas = Image.fromarray(pixels)
    names = [class_names[label] if class_names else str(label) for label in labels.tolist()]
    if scores is not None:
        names = [f"{name} {score:.2f}" for name, score in zip(names, scores.tolist(), strict=True)]
    _draw_names(canvas, boxes.tolist(), names)
    return canvas


def instance_colour(index: int) -> Colour:
    """A colour that is far in hue from those of the indices around it and bright enough for black text."""
    return bright_colour(0.6 + index * GOLDEN_RATIO, (0.85, 0.6, 1.0)[index % 3], 1.0)


def bright_colour(hue: float, saturation: float, value: float) -> Colour:
    """A colour of these (the hue counts modulo 1), lightened until it is bright enough for black text."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    white = max(0.0, _LOWEST_BRIGHTNESS - brightness) / (1 - brightness)
    red, green, blue = (round(255 * (part + (1 - part) * white)) for part in (red, green, blue))
    return red, green, blue


class NameTags:
    """Names in black on a coloured ground, all of one height; for a picture of `size` (W, H) pixels."""

    def __init__(self, size: tuple[int, int]) -> None:
        font_size = min(max(11, round(max(size) / 50)), 40)
        self._font = ImageFont.load_default(font_size)
        self._padding = max(1, font_size // 6)
        _, self._top, _, bottom = self._font.getbbox("Ay")
        self.height = int(bottom - self._top) + 2 * self._padding

    def width(self, text: str) -> int:
        """Pixels from the left to the right end of a tag."""
        return int(self._font.getlength(text)) + 2 * self._padding

    def draw(self, pen: ImageDraw.ImageDraw, left: int, top: int, text: str, colour: Colour) -> None:
        """Draws a tag with these first column and first row."""
        place = (left, top, left + self.width(text) - 1, top + self.height - 1)
        pen.rounded_rectangle(place, radius=self._padding, fill=colour)
        pen.text((left + self._padding, top + self._padding - self._top), text, font=self._font, fill="black")


class _Object(NamedTuple):
    """window: the rows and columns with all of a mask; mask: bool, that part of it; box: (x1, y1, x2, y2) in pixels."""

    mask: np.ndarray
    window: tuple[slice, slice]
    box: list[float]
    colour: Colour


def _tint(pixels: np.ndarray, objects: list[_Object]) -> None:
    """Blends uint8 pixels [H, W, 3] with the colours of the masks, in place."""
    # Each pixel is tinted by the last of its masks alone, so that masks that overlap do not darken it twice.
    owner = np.zeros(pixels.shape[:2], dtype=np.int32)
    for number, (mask, window, _, _) in enumerate(objects, start=1):
        np.copyto(owner[window], number, where=mask)
    covered = owner > 0
    colours = np.array([(0, 0, 0), *(one.colour for one in objects)])[owner[covered]]
    pixels[covered] = np.rint(pixels[covered] * (1 - _MASK_OPACITY) + colours * _MASK_OPACITY)


def _draw_contours(pixels: np.ndarray, objects: list[_Object], width: int) -> None:
    for mask, window, _, colour in objects:
        pixels[window][_contour(mask, width)] = colour


def _bounding_window(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest rows and columns with all of a mask: work in them alone is quick."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _contour(mask: np.ndarray, width: int) -> np.ndarray:
    """The outermost `width` pixels of a mask [H, W]; what lies beyond the array is outside."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _draw_boxes(pixels: np.ndarray, objects: list[_Object], width: int) -> np.ndarray:
    canvas = Image.fromarray(pixels)
    layer = Image.new("RGBA", canvas.size)
    pen = ImageDraw.Draw(layer)
    for _, _, (x1, y1, x2, y2), colour in objects:
        # The last pixel inside a box is one before its right and bottom edge.
        left, top = round(x1), round(y1)
        corners = (left, top, max(left, round(x2) - 1), max(top, round(y2) - 1))
        pen.rectangle(corners, outline=(*colour, round(255 * _BOX_OPACITY)), width=width)
    canvas.paste(layer, mask=layer)
    return np.array(canvas)


def _draw_names(canvas: Image.Image, boxes: list[list[float]], texts: list[str]) -> None:
    tags = NameTags(canvas.size)
    height = tags.height
    pen = ImageDraw.Draw(canvas)
    taken: list[Rectangle] = []
    for index, (box, text) in enumerate(zip(boxes, texts, strict=True)):
        width = tags.width(text)
        if width > 2 * (box[2] - box[0]) or width > canvas.width or height > canvas.height:
            continue
        left = min(max(0, round(box[0])), canvas.width - width)
        # Above the box, or inside it where there is no room above.
        above = round(box[1]) - height
        up = above if above >= 0 else min(max(0, round(box[1])), canvas.height - height)
        place = (left, up, left + width - 1, up + height - 1)
        if any(_touch(place, other) for other in taken):
            continue
        taken.append(place)
        tags.draw(pen, left, up, text, instance_colour(index))


def _touch(a: Rectangle, b: Rectangle) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
