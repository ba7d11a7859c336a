"""PNG files that hold a segment id per pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condinst.data.images import open_image, tiles

_LARGEST_ID = 256**3 - 1
_ONE_CHANNEL = ("L", "I", "I;16", "I;16B", "I;16L")


def read_segment_ids(path: str | Path) -> Tensor:
    """The segment ids of an image.

    Args:
        path: RGB as COCO writes it, where the id is R + 256 G + 65536 B; or one channel, as Cityscapes' instanceIds,
            where it is the number itself.

    Returns:
        int32 [H, W].

    Raises:
        ValueError: a file that is missing, damaged, no image, or has other channels (a palette, transparency); the
            message names it.
    """
    return _read_ids(path, "RGB", *_ONE_CHANNEL)


def read_instance_ids(path: str | Path) -> Tensor:
    """The numbers of an image that must have one channel, as Cityscapes' instanceIds; see `read_segment_ids`."""
    return _read_ids(path, *_ONE_CHANNEL)


def write_segment_ids(ids: Tensor, path: str | Path) -> None:
    """Writes segment ids as COCO's RGB image; `read_segment_ids` gives them back.

    Args:
        ids: integers [H, W], 0..16777215; 0 is void.
        path: the PNG file.

    Raises:
        ValueError: ids of another shape, type or range.
    """
    if ids.ndim != 2 or ids.is_floating_point() or not ids.numel():
        raise ValueError(f"ids: expected integers [H, W], got {ids.dtype} {list(ids.shape)}")
    if ids.min() < 0 or ids.max() > _LARGEST_ID:
        raise ValueError(f"ids: expected 0..{_LARGEST_ID}, got {int(ids.min())}..{int(ids.max())}")
    numbers = ids.cpu().numpy()
    channels = [(numbers >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)]
    Image.fromarray(np.stack(channels, axis=2)).save(path, format="PNG")


def _read_ids(path: str | Path, *modes: str) -> Tensor:
    """int32 [H, W] of an image with one of these modes."""
    image = open_image(Path(path))
    if image.mode not in modes:
        expected = "an RGB image or one of a single channel" if "RGB" in modes else "one number per pixel"
        raise ValueError(f"{path}: expected {expected}, got mode {image.mode}")
    ids = np.empty((image.height, image.width), np.int32)
    for place, tile in tiles(image):
        pixels = np.asarray(tile)
        if pixels.ndim == 2:
            ids[place] = pixels
            continue
        red, green, blue = pixels.transpose(2, 0, 1)
        part = ids[place]
        part[:] = blue
        for channel in (green, red):
            part *= 256
            part += channel
    return torch.from_numpy(ids)
