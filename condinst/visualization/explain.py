"""A contact sheet of one instance's mask head (Fig. 5 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from .fonts import font_for

_TILE = 168  # pixels
_GAP = 6
_FONT_SIZE = 14
_ROW_LENGTH = 8
_CONTEXT = 3.0
"""The size of the window that is shown, relative to the box, so that neighbours are visible."""
_LEAST_WINDOW = 64
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def draw_explanation(
    image: Tensor,
    title: str,
    box: Tensor | None,
    location: Tensor,
    masks: Sequence[tuple[str, Tensor]],
    mask_stride: int,
    rows: Sequence[tuple[str, Tensor]],
    feature_stride: int,
) -> Image.Image:
    """The neighbourhood of an instance, its mask from several inputs, and maps in rows of tiles below.

    Masks are drawn as probabilities over the grey image, with a line at 0.5. Maps are blue below 0 and red above. The
    tiles of a row have the same scale, so that they can be compared.

    Args:
        image: uint8 [3, H, W] RGB.
        title: title above all tiles.
        box: [4] (x1, y1, x2, y2) pixels of the image; None draws no box and shows the whole image.
        location: [2] (x, y), marked by a cross.
        masks: name and logits [h, w] of each mask.
        mask_stride: pixels of the image per cell of the masks.
        rows: name and maps [C, h', w'] of each row.
        feature_stride: pixels of the image per cell of the maps.

    Returns:
        An RGB image.
    """
    window = _window(image, box)
    x1, y1, x2, y2 = window
    pixels = image[:, y1:y2, x1:x2].permute(1, 2, 0).numpy()
    scale = _TILE / max(x2 - x1, y2 - y1)
    size = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))

    picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR)
    grey = np.asarray(picture.convert("L"), np.float32)[..., None]
    pen = ImageDraw.Draw(picture)
    if box is not None:
        left, top, right, bottom = box.tolist()
        corners = ((left - x1) * scale, (top - y1) * scale, (right - x1) * scale, (bottom - y1) * scale)
        pen.rectangle(corners, outline=(255, 220, 0), width=2)
    x, y = ((float(value) - start) * scale for value, start in zip(location, (x1, y1), strict=True))
    pen.line((x - 5, y, x + 5, y), fill=(255, 0, 0), width=2)
    pen.line((x, y - 5, x, y + 5), fill=(255, 0, 0), width=2)

    first = [("image", picture)]
    for name, logits in masks:
        probability = _resized(logits.sigmoid(), mask_stride, window, size)
        first.append((name, _over(grey, probability)))
    strips = [_strip("", first)]
    for name, maps in rows:
        parts = [_resized(feature_map, feature_stride, window, size) for feature_map in maps]
        largest = max(float(np.abs(part).max()) for part in parts) or 1.0
        tiles = [(str(channel), _signed(part / largest)) for channel, part in enumerate(parts)]
        for start in range(0, len(tiles), _ROW_LENGTH):
            label = f"{name}   (red {largest:.3g}, blue {-largest:.3g})" if start == 0 else ""
            strips.append(_strip(label, tiles[start : start + _ROW_LENGTH]))
    heading = _text(title, _FONT_SIZE + 4)
    return ImageOps.expand(_stack([heading, *strips]), border=_GAP, fill=_PAPER)


def _window(image: Tensor, box: Tensor | None) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of the window that is shown: the box with its neighbourhood, within the image."""
    height, width = image.shape[1:]
    if box is None:
        return 0, 0, width, height
    x1, y1, x2, y2 = box.tolist()
    half = max(_CONTEXT * max(x2 - x1, y2 - y1), _LEAST_WINDOW) / 2
    middle_x = min(max((x1 + x2) / 2, 0.0), width)
    middle_y = min(max((y1 + y2) / 2, 0.0), height)
    return (
        max(0, int(middle_x - half)),
        max(0, int(middle_y - half)),
        min(width, int(middle_x + half) + 1),
        min(height, int(middle_y + half) + 1),
    )


def _resized(values: Tensor, stride: int, window: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The part of a map [h, w] in a window of the image, float32 [size[1], size[0]]."""
    x1, y1, x2, y2 = window
    # cell k is at pixel k * stride + stride // 2, which is (k + 0.5) * stride in PIL's coordinates
    region = (x1 / stride, y1 / stride, min(x2 / stride, values.shape[1]), min(y2 / stride, values.shape[0]))
    picture = Image.fromarray(np.ascontiguousarray(values.float().numpy()))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=region))


def _over(grey: np.ndarray, probability: np.ndarray) -> Image.Image:
    """A mask over the grey image [h, w, 1], with a line where its probability crosses 0.5."""
    tint = np.array([255.0, 90.0, 0.0], np.float32)
    weight = 0.65 * probability[..., None]
    pixels = grey * (1 - weight) + tint * weight
    inside = np.pad(probability > 0.5, 1)
    core = inside[1:-1, 1:-1]
    inner = core & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    pixels[core & ~inner] = (255, 255, 255)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _signed(values: np.ndarray) -> Image.Image:
    """Values in -1..1 as colours from blue over white to red."""
    strength = np.abs(values).clip(0, 1)[..., None]
    colour = np.where(values[..., None] < 0, (33.0, 80.0, 190.0), (190.0, 30.0, 45.0))
    return Image.fromarray((255 * (1 - strength) + colour * strength).astype(np.uint8))


def _text(text: str, size: int = _FONT_SIZE) -> Image.Image:
    font = font_for(text, size)
    left, top, right, bottom = font.getbbox(text + "Ay")
    line = Image.new("RGB", (int(right - left) + 1, int(bottom - top) + 3), _PAPER)
    ImageDraw.Draw(line).text((-left, 1 - top), text, font=font, fill=_INK)
    return line


def _strip(label: str, tiles: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Tiles side by side with their names above, and a label above all."""
    columns = [_stack([_text(name), tile], gap=2) for name, tile in tiles]
    width = sum(max(column.width, _TILE) + _GAP for column in columns) - _GAP
    row = Image.new("RGB", (width, max(column.height for column in columns)), _PAPER)
    for index, column in enumerate(columns):
        row.paste(column, (index * (_TILE + _GAP), 0))
    return _stack([_text(label), row], gap=2) if label else row


def _stack(parts: Sequence[Image.Image], gap: int = _GAP) -> Image.Image:
    """Pictures below each other."""
    size = (max(part.width for part in parts), sum(part.height + gap for part in parts) - gap)
    sheet = Image.new("RGB", size, _PAPER)
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height + gap
    return sheet
