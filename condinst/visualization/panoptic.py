"""Draws the segments of a panoptic result over an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .fonts import legible
from .overlay import GOLDEN_RATIO, Colour, NameTags, bright_colour, instance_colour

_OPACITY = 0.5
_VOID_BRIGHTNESS = 0.7
_LARGEST_ID = 256**3 - 1  # the largest id in a PNG of COCO
_ROWS_AT_ONCE = 256
_GRID_SIZE = 640
"""The search for places of names uses every n-th pixel, so that no side of the grid is longer than this."""
_ROOM = (3.0, 1.5, 1.0)
"""The free area that a name needs in its segment, relative to its size. The first factor that fits is used."""


def draw_panoptic(
    image: Tensor, ids: Tensor, segments_info: Sequence[dict[str, Any]], names: Sequence[str] = ()
) -> Image.Image:
    """The image with its segments tinted, contours between them, and names inside those that are large enough.

    Stuff has a muted colour that depends only on its label, and thing k has colour k of `draw_predictions`. Void is
    darkened. Names lie completely in their segments, near the middle; the names of things include the score. If a name
    does not fit, the score is left out, and then the name.

    Args:
        image: uint8 [3, H, W] RGB.
        ids: integers [H, W], the segment of each pixel, 0 for void.
        segments_info: a dict per segment with `id` (1 .. 256^3 - 1), `label` (panoptic label), `isthing` and optionally
            `score`. A segment without pixels is not drawn, but it counts for the colours of things.
        names: the name of each panoptic label, things first; without names, the labels are written.

    Returns:
        An RGB image of W x H pixels; the same for the same arguments.

    Raises:
        ValueError: a wrong dtype, shapes that do not fit each other, pixels of a segment that `segments_info` lacks, a
            repeated id, an id out of range, or a label without a name.
    """
    if image.dtype != torch.uint8:
        raise ValueError(f"image: expected torch.uint8, got {image.dtype}")
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise ValueError(f"ids: expected integers, got {ids.dtype}")
    if image.ndim != 3 or len(image) != 3:
        raise ValueError(f"image: expected [3, H, W], got {list(image.shape)}")
    if ids.shape != image.shape[1:]:
        raise ValueError(f"ids: expected {list(image.shape[1:])} as the image, got {list(ids.shape)}")
    segments = _segments(segments_info, names)
    places = _places(ids.cpu().numpy(), [segment["id"] for segment in segments_info])
    pixels = image.permute(1, 2, 0).cpu().numpy().copy()
    size = max(ids.shape)
    _tint(pixels, places, segments)
    _draw_contours(pixels, places, segments, width=max(1, round(size / 1000)))
    canvas = Image.fromarray(pixels)
    _draw_names(canvas, places, segments)
    return canvas


def stuff_colour(label: int) -> Colour:
    """The muted colour of stuff: far in hue from the colours of adjacent labels, and bright enough for black text."""
    return bright_colour(0.3 + label * GOLDEN_RATIO, (0.45, 0.3, 0.55)[label % 3], (0.8, 0.65)[label % 2])


class _Segment(NamedTuple):
    """colour: the tint of the segment; texts: the possible names on it, the best first."""

    colour: Colour
    texts: tuple[str, ...]


def _segments(segments_info: Sequence[dict[str, Any]], names: Sequence[str]) -> list[_Segment]:
    segments = []
    num_things = 0
    for segment in segments_info:
        label = segment["label"]
        if label < 0 or (names and label >= len(names)):
            expected = f"in 0..{len(names) - 1}, one per name" if names else "of at least 0"
            raise ValueError(f"segments_info: expected labels {expected}, got {label} for segment {segment['id']}")
        name = legible(names[label], label) if names else str(label)
        texts = (f"{name} {segment['score']:.2f}", name) if segment.get("score") is not None else (name,)
        if segment["isthing"]:
            segments.append(_Segment(instance_colour(num_things), texts))
            num_things += 1
        else:
            segments.append(_Segment(stuff_colour(label), texts))
    return segments


def _places(ids: np.ndarray, known: list[int]) -> np.ndarray:
    """The index of each pixel's segment in `known`, from 1, int32 [H, W]; 0 is void."""
    for segment_id in known:
        if not 0 < segment_id <= _LARGEST_ID:
            raise ValueError(f"segments_info: expected ids in 1..{_LARGEST_ID}, got {segment_id}")
    if len(set(known)) < len(known):
        raise ValueError(f"segments_info: expected each id once, got {len(known)} segments with {len(set(known))} ids")
    table = np.full(max(known, default=0) + 1, -1, np.int32)
    table[[0, *known]] = range(len(known) + 1)
    outside = (ids < 0) | (ids >= len(table))
    places = table[np.where(outside, 0, ids)]
    unknown = ids[outside | (places < 0)]
    if unknown.size:
        raise ValueError(f"ids: expected 0 and the {len(known)} ids of segments_info, got {unknown[0]}")
    return places


def _tint(pixels: np.ndarray, places: np.ndarray, segments: list[_Segment]) -> None:
    """Blends uint8 pixels [H, W, 3] with the colours of their segments, in place."""
    kept = np.full(len(segments) + 1, 1 - _OPACITY, np.float32)
    kept[0] = _VOID_BRIGHTNESS
    added = np.array([(0, 0, 0), *(segment.colour for segment in segments)], np.float32) * np.float32(_OPACITY)
    # In bands of rows, because the whole image in floating point would be four times as large.
    for start in range(0, len(pixels), _ROWS_AT_ONCE):
        band, band_places = pixels[start : start + _ROWS_AT_ONCE], places[start : start + _ROWS_AT_ONCE]
        band[:] = np.rint(band * kept[band_places][..., None] + added[band_places])


def _draw_contours(pixels: np.ndarray, places: np.ndarray, segments: list[_Segment], width: int) -> None:
    """Colours pixels that are at most `width` pixels, up, down, left or right, from another segment or void."""
    edge = np.zeros(places.shape, bool)
    for distance in range(1, width + 1):
        for after, before in (
            (np.s_[distance:], np.s_[:-distance]),
            (np.s_[:, distance:], np.s_[:, :-distance]),
        ):
            differs = places[after] != places[before]
            edge[after] |= differs
            edge[before] |= differs
    edge &= places > 0
    colours = np.array([(0, 0, 0), *(segment.colour for segment in segments)], np.uint8)
    pixels[edge] = colours[places[edge]]


def _draw_names(canvas: Image.Image, places: np.ndarray, segments: list[_Segment]) -> None:
    tags = NameTags(canvas.size)
    pen = ImageDraw.Draw(canvas)
    step = -(-max(places.shape) // _GRID_SIZE)
    height, width = (side // step * step for side in places.shape)  # of all whole cells
    grid = places[step // 2 : height : step, step // 2 : width : step]
    rows = -(-tags.height // step)
    # A single sort groups the cells by segment.
    order = np.argsort(grid, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(grid.ravel(), minlength=len(segments) + 1))
    for segment, start, end in zip(segments, ends[:-1], ends[1:], strict=True):
        for text in segment.texts:
            columns = -(-tags.width(text) // step)
            if not text or end - start < rows * columns:
                continue
            ys, xs = np.divmod(order[start:end], grid.shape[1])
            place = _room(ys, xs, rows, columns)
            if place is not None:
                tags.draw(pen, place[1] * step, place[0] * step, text, segment.colour)
                break


def _room(ys: np.ndarray, xs: np.ndarray, rows: int, columns: int) -> tuple[int, int] | None:
    """The first row and column of a rectangle within these cells, with the most margin, near their mean; or None."""
    top, left = int(ys.min()), int(xs.min())
    # Sums over the rectangles from (0, 0) to each cell give the sum over any rectangle.
    sums = np.zeros((int(ys.max()) - top + 2, int(xs.max()) - left + 2), np.int32)
    sums[ys - top + 1, xs - left + 1] = 1
    sums = sums.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
    for room in _ROOM:
        high, wide = round(rows * room), round(columns * room)
        if high >= len(sums) or wide >= sums.shape[1]:
            continue
        inside = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
        first_ys, first_xs = np.nonzero(inside == high * wide)
        if len(first_ys):
            distances = (first_ys + top + (high - 1) / 2 - ys.mean()) ** 2
            distances += (first_xs + left + (wide - 1) / 2 - xs.mean()) ** 2
            best = int(distances.argmin())
            return int(first_ys[best]) + top + (high - rows) // 2, int(first_xs[best]) + left + (wide - columns) // 2
    return None
