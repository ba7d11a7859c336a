"""Masks of training data as COCO run lengths: what training asks of them, without their pixels.

A mask is ``{"size": [height, width], "counts": bytes or str}``. The work is done in C++ by `condinst._host`, or by
NumPy where that is not built; both refuse damaged counts, over which pycocotools reads memory that is not its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

try:
    from condinst import _host
except ImportError:  # not built
    _host = None  # type: ignore[assignment]

Rle = dict[str, Any]


def sample_masks(rles: Sequence[Rle], stride: int, size: tuple[int, int]) -> Tensor:
    """Masks at the stride of the mask loss, as slicing `[stride // 2 :: stride]` of the padded masks gives (SPEC 2.5).

    Args:
        rles: G masks, of any sizes up to `size`.
        stride: pixels between two samples.
        size: (height, width) of the padded batch, multiples of `stride`.

    Returns:
        bool [G, height // stride, width // stride]; False beyond the mask.

    Raises:
        TypeError: counts that are neither bytes nor str.
        ValueError: a mask larger than `size`, or with damaged counts; a `size` that is no multiple of `stride`.
    """
    height, width = size
    if stride < 1 or height % stride or width % stride:
        raise ValueError(f"size: expected multiples of the stride {stride}, got {height} x {width}")
    for index, rle in enumerate(rles):
        if rle["size"][0] > height or rle["size"][1] > width:
            raise ValueError(f"rles[{index}]: expected at most {height} x {width} pixels, got {list(rle['size'])}")
    first = stride // 2
    return mask_pixels(rles, np.arange(first, height, stride), np.arange(first, width, stride))


def mask_pixels(rles: Sequence[Rle], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Tensor:
    """The pixels where some rows and columns of masks cross: a part, a sampling, or a nearest-neighbour resize.

    Args:
        rles: G masks.
        rows: [R] their y, ascending from 0 on.
        columns: [C] likewise their x.

    Returns:
        bool [G, R, C]; False beyond the mask.

    Raises:
        TypeError: counts that are neither bytes nor str.
        ValueError: damaged counts.
    """
    sizes, counts = _split(rles)
    if _host is not None:
        return torch.from_numpy(_host.rle_pixels(sizes, counts, rows, columns))
    pixels = np.zeros((len(counts), len(rows), len(columns)), bool)
    for index, (height, width) in enumerate(sizes.tolist()):
        runs = _run_lengths(index, counts[index], height * width)
        mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        inside = np.ix_(rows[rows < height], columns[columns < width])
        pixels[index, : inside[0].shape[0], : inside[1].shape[1]] = mask[inside]
    return torch.from_numpy(pixels)


def mass_centers(rles: Sequence[Rle]) -> tuple[Tensor, Tensor]:
    """Mass centres of masks, exactly those of `condinst.reference.mask_centers`, and their areas.

    Args:
        rles: G masks.

    Returns:
        float32 [G, 2] (x, y) px, NaN for an empty mask, and int64 [G] px.

    Raises:
        TypeError: counts that are neither bytes nor str.
        ValueError: damaged counts.
    """
    sizes, counts = _split(rles)
    if _host is not None:
        moments = torch.from_numpy(_host.rle_moments(sizes, counts))
    else:
        rows = [
            _moments(_run_lengths(index, counts[index], height * width), height)
            for index, (height, width) in enumerate(sizes.tolist())
        ]
        moments = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    area = moments[:, :1].double()
    return (moments[:, 1:].double() / area).float(), moments[:, 0]


def encode_masks(masks: Tensor) -> list[Rle]:
    """Masks as compressed run lengths.

    Args:
        masks: bool [G, H, W].
    """
    if not len(masks):
        return []
    columns = masks.mT.to(torch.uint8).contiguous().numpy()  # pycocotools runs down the columns of [H, W, G]
    return coco_mask.encode(columns.transpose(2, 1, 0))


def boxes_of_rles(rles: Sequence[Rle]) -> Tensor:
    """The smallest box round each mask, with the far edges outside the last pixel; zeros for an empty one.

    Args:
        rles: G masks with sound counts.

    Returns:
        float32 [G, 4] xyxy px.
    """
    if not rles:
        return torch.zeros(0, 4)
    x, y, width, height = coco_mask.toBbox(list(rles)).T
    return torch.from_numpy(np.stack([x, y, x + width, y + height], axis=1).astype(np.float32))


def _split(rles: Sequence[Rle]) -> tuple[NDArray[np.int64], list[bytes]]:
    """Sizes [G, 2] and counts of masks."""
    counts = []
    for index, rle in enumerate(rles):
        text = rle["counts"]
        if not isinstance(text, (bytes, str)):
            raise TypeError(f"rles[{index}]: counts: expected bytes or str, got {type(text).__name__}")
        try:
            counts.append(text.encode("ascii") if isinstance(text, str) else text)
        except UnicodeEncodeError as error:
            raise ValueError(f"rles[{index}]: counts: a character outside '0' .. 'o'") from error
    return np.array([rle["size"] for rle in rles], dtype=np.int64).reshape(-1, 2), counts


def _run_lengths(index: int, counts: bytes, pixels: int) -> NDArray[np.int64]:
    """What kernels/masks_to_rle/decoder.h does, in NumPy: the lengths of all runs, checked."""
    fives = np.frombuffer(counts, np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(fives & 32 == 0)
    if not np.all((fives >= 0) & (fives < 64)) or (len(fives) and (not len(ends) or ends[-1] != len(fives) - 1)):
        raise ValueError(f"rles[{index}]: counts: characters that are no run lengths")
    begins = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    digits = ends - begins + 1
    if np.any(digits > 8):
        raise ValueError(f"rles[{index}]: counts: a number of too many characters")
    places = np.arange(len(fives)) - np.repeat(begins[: len(ends)], digits)
    numbers = np.add.reduceat((fives & 31) << (5 * places), begins) if len(ends) else np.zeros(0, np.int64)
    numbers -= np.where(fives[ends] & 16, np.int64(1) << (5 * digits), 0)
    runs = numbers  # from the fourth on, the difference to the last run of the same value
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    if np.any(runs < 0) or np.any(runs > pixels) or runs.sum() != pixels:
        raise ValueError(f"rles[{index}]: counts: run lengths that do not add up to the {pixels} pixels of the mask")
    return runs


def _moments(runs: NDArray[np.int64], height: int) -> tuple[int, int, int]:
    """Area and sums of x and of y."""
    positions = np.flatnonzero(np.repeat(np.arange(len(runs)) % 2 == 1, runs))
    return len(positions), int((positions // height).sum()), int((positions % height).sum())
