"""PNG files that hold a segment id per pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from condinst.data.images import open_image

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
    pixels = _read_pixels(path)
    if pixels.ndim == 2:
        return torch.from_numpy(pixels.astype(np.int32))
    red, green, blue = pixels.transpose(2, 0, 1)
    ids = blue.astype(np.int32)
    for channel in (green, red):
        ids *= 256
        ids += channel
    return torch.from_numpy(ids)


def read_instance_ids(path: str | Path) -> Tensor:
    """The numbers of an image that must have one channel, as Cityscapes' instanceIds; see `read_segment_ids`."""
    pixels = _read_pixels(path)
    if pixels.ndim != 2:
        raise ValueError(f"{path}: expected one number per pixel, got {list(pixels.shape)}")
    return torch.from_numpy(pixels.astype(np.int32))


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


def _read_pixels(path: str | Path) -> NDArray[Any]:
    """[H, W], or [H, W, 3] RGB."""
    image = open_image(Path(path), upright=False)
    if image.mode != "RGB" and image.mode not in _ONE_CHANNEL:
        raise ValueError(f"{path}: expected an RGB image or one of a single channel, got mode {image.mode}")
    return np.array(image)
