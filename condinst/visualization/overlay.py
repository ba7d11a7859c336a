"""Masks, contours, boxes and names drawn over an image."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from condinst.data.rles import boxes_of_rles, mask_pixels, mass_centers
from condinst.geometry import row_slices
from condinst.messages import shorten

from .fonts import font_for, legible

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

_MASK_OPACITY = 0.4
_BOX_OPACITY = 0.6
_LOWEST_BRIGHTNESS = 0.45
_STRIP = 2**22  # pixels that are drawn at a time
FARTHEST = 2**30
"""The largest coordinate of a box that is drawn, in pixels, the same as the largest side. PIL has 32-bit integers."""

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

    Lines and text grow with the image; object k always has colour k. A name is left out if it would be more than twice
    as wide as the box of its object, or would touch the name of an earlier object, so that crowds of small objects stay
    visible.

    Args:
        image: uint8 [3, H, W] RGB.
        boxes: [K, 4] (x1, y1, x2, y2) in pixels, finite and within `FARTHEST` of the image.
        labels: int64 [K].
        scores: [K] in 0..1; None for annotations, which have none.
        masks: bool [K, H, W], or K COCO run lengths, of which one at a time is decoded.
        class_names: the name of each label; without, the label itself is written. So it is, with the escaped name,
            where neither Pillow's font nor DejaVu Sans, which comes with matplotlib, has the characters of the name.

    Returns:
        An RGB image of W x H pixels.

    Raises:
        TypeError: masks that are neither a tensor nor run lengths.
        ValueError: an image of another type or without pixels; shapes that do not fit each other; boxes that are not
            finite or too far away; damaged run lengths.
    """
    _check_arguments(image, boxes, labels, scores, masks)
    count, size = len(boxes), max(image.shape[1:])
    areas, windows = _areas_and_windows(masks)
    objects = [
        _Object(mask, window, box, instance_colour(index))
        for index, (mask, window, box) in enumerate(zip(masks, windows, boxes.tolist(), strict=True))
    ]
    # Large objects first, because an object in front of another is mostly smaller.
    objects = [objects[index] for index in sorted(range(count), key=lambda index: -areas[index])]
    pixels = image.permute(1, 2, 0).cpu().numpy().copy()
    _tint(pixels, objects)
    _draw_boxes(pixels, objects, width=max(1, round(size / 900)))
    _draw_contours(pixels, objects, width=max(1, round(size / 700)))

    canvas = Image.fromarray(pixels)
    names = [legible(class_names[label], label) if class_names else str(label) for label in labels.tolist()]
    if scores is not None:
        names = [f"{name} {score:.2f}" for name, score in zip(names, scores.tolist(), strict=True)]
    _draw_names(canvas, boxes.tolist(), names)
    return canvas


def _check_arguments(
    image: Tensor, boxes: Tensor, labels: Tensor, scores: Tensor | None, masks: Tensor | Sequence[dict[str, Any]]
) -> None:
    """Raises unless these are the arguments of `draw_predictions`."""
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3 or not image.numel():
        raise ValueError(f"image: expected uint8 [3, H, W] with pixels, got {image.dtype} {list(image.shape)}")
    count, size = len(boxes), image.shape[1:]
    for name, value, shape in (
        ("boxes", boxes, (count, 4)),
        ("labels", labels, (count,)),
        ("scores", scores, (count,)),
    ):
        if value is not None and value.shape != shape:
            raise ValueError(f"{name}: expected {list(shape)} for these boxes, got {list(value.shape)}")
    if not (boxes.abs() <= FARTHEST).all():  # this form of the condition also raises for NaN
        raise ValueError(f"boxes: expected numbers of at most {FARTHEST}, got {float(boxes.abs().max()):.4g}")
    if len(masks) != count:
        raise ValueError(f"masks: expected {count} for these boxes, got {len(masks)}")
    if isinstance(masks, Tensor):
        if masks.dtype != torch.bool or masks.shape[1:] != size:
            raise ValueError(f"masks: expected bool {[count, *size]}, got {masks.dtype} {list(masks.shape)}")
        return
    for index, mask in enumerate(masks):
        if not isinstance(mask, Mapping) or "size" not in mask or "counts" not in mask:
            raise TypeError(f"masks[{index}]: expected run lengths with size and counts, got {shorten(mask)}")
        if mask["size"] not in (list(size), tuple(size)):
            raise ValueError(f"masks[{index}]: expected {list(size)} pixels, got {shorten(mask['size'])}")


def instance_colour(index: int) -> Colour:
    """A colour that is far in hue from the colours of adjacent indices, and bright enough for black text."""
    return bright_colour(0.6 + index * GOLDEN_RATIO, (0.85, 0.6, 1.0)[index % 3], 1.0)


def bright_colour(hue: float, saturation: float, value: float) -> Colour:
    """The colour of a hue (modulo 1), lightened until it is bright enough for black text."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    white = max(0.0, _LOWEST_BRIGHTNESS - brightness) / (1 - brightness)
    red, green, blue = (round(255 * (part + (1 - part) * white)) for part in (red, green, blue))
    return red, green, blue


class NameTags:
    """Names in black on a coloured background, all of the same height, for a picture of `size` (W, H) pixels."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._font_size = min(max(11, round(max(size) / 50)), 40)
        self._padding = max(1, self._font_size // 6)
        _, top, _, bottom = font_for("Ay", self._font_size).getbbox("Ay")
        self.height = int(bottom - top) + 2 * self._padding

    def width(self, text: str) -> int:
        """Pixels from the left to the right end of a tag."""
        return int(font_for(text, self._font_size).getlength(text)) + 2 * self._padding

    def draw(self, pen: ImageDraw.ImageDraw, left: int, top: int, text: str, colour: Colour) -> None:
        """Draws a tag with `left` as its first column and `top` as its first row."""
        place = (left, top, left + self.width(text) - 1, top + self.height - 1)
        pen.rounded_rectangle(place, radius=self._padding, fill=colour)
        font = font_for(text, self._font_size)
        _, above, _, _ = font.getbbox("Ay")
        pen.text((left + self._padding, top + self._padding - above), text, font=font, fill="black")


class _Object(NamedTuple):
    """window: the rows and columns that contain the mask; box: (x1, y1, x2, y2) in pixels."""

    mask: Tensor | dict[str, Any]
    window: tuple[slice, slice]
    box: list[float]
    colour: Colour

    def pixels(self) -> np.ndarray:
        """The mask within its window, bool. It is not cached, because all masks together may be larger than memory."""
        if isinstance(self.mask, Tensor):
            return self.mask[self.window].cpu().numpy()
        rows, columns = (np.arange(side.start, side.stop) for side in self.window)
        return mask_pixels([self.mask], rows, columns)[0].numpy()


def _tint(pixels: np.ndarray, objects: list[_Object]) -> None:
    """Blends uint8 pixels [H, W, 3] with the colours of the masks, in place."""
    # Only the last mask of a pixel tints it, so that overlapping masks do not darken it twice.
    top_object = np.zeros(pixels.shape[:2], dtype=np.min_scalar_type(len(objects)))
    for number, item in enumerate(objects, start=1):
        np.copyto(top_object[item.window], number, where=item.pixels())
    colours = np.array([(0, 0, 0), *(item.colour for item in objects)])
    for rows in row_slices(len(top_object), top_object.shape[1], _STRIP):
        covered = top_object[rows] > 0
        tints = colours[top_object[rows][covered]]
        pixels[rows][covered] = np.rint(pixels[rows][covered] * (1 - _MASK_OPACITY) + tints * _MASK_OPACITY)


def _draw_contours(pixels: np.ndarray, objects: list[_Object], width: int) -> None:
    for item in objects:
        pixels[item.window][_contour(item.pixels(), width)] = item.colour


def _areas_and_windows(
    masks: Tensor | Sequence[dict[str, Any]],
) -> tuple[list[int], list[tuple[slice, slice]]]:
    """The area of each mask, and the smallest window that contains it, because drawing only in the window is fast."""
    if isinstance(masks, Tensor):
        return [int(mask.count_nonzero()) for mask in masks], [_bounding_window(mask.cpu().numpy()) for mask in masks]
    areas = mass_centers(masks)[1].tolist()  # also a check of the run lengths
    boxes = boxes_of_rles(masks).int().tolist()
    return areas, [(slice(y1, y2), slice(x1, x2)) for x1, y1, x2, y2 in boxes]


def _bounding_window(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest rows and columns that contain a mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _contour(mask: np.ndarray, width: int) -> np.ndarray:
    """The outermost `width` pixels of a mask [H, W]; pixels beyond the array count as outside."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _draw_boxes(pixels: np.ndarray, objects: list[_Object], width: int) -> None:
    """Draws outlines over uint8 pixels [H, W, 3], in place."""
    for rows in row_slices(len(pixels), pixels.shape[1], _STRIP):
        canvas = Image.fromarray(pixels[rows])
        layer = Image.new("RGBA", canvas.size)
        pen = ImageDraw.Draw(layer)
        for item in objects:
            x1, y1, x2, y2 = item.box
            # The last pixel inside a box is 1 before its right and bottom edge.
            left, top = round(x1), round(y1) - rows.start
            corners = (left, top, max(left, round(x2) - 1), max(top, round(y2) - 1 - rows.start))
            # Edges further outside are not visible, but would take time.
            sides = (canvas.width, canvas.height) * 2
            corners = tuple(min(max(at, -2 * width), side + 2 * width) for at, side in zip(corners, sides, strict=True))
            pen.rectangle(corners, outline=(*item.colour, round(255 * _BOX_OPACITY)), width=width)
        canvas.paste(layer, mask=layer)
        pixels[rows] = np.asarray(canvas)


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
        # Above the box, or inside it if there is no space above.
        above = round(box[1]) - height
        up = above if above >= 0 else min(max(0, round(box[1])), canvas.height - height)
        place = (left, up, left + width - 1, up + height - 1)
        if any(_touch(place, other) for other in taken):
            continue
        taken.append(place)
        tags.draw(pen, left, up, text, instance_colour(index))


def _touch(a: Rectangle, b: Rectangle) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
