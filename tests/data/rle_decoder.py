"""A decoder of run lengths in NumPy, in the place of `condinst._host`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from condinst.data.rles import _checked_size


class NumPyDecoder:
    """The functions of `condinst._host` that read run lengths."""

    @staticmethod
    def rle_pixels(
        sizes: NDArray[np.int64], counts: list[bytes], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """What `condinst.data.rles.mask_pixels` returns: bool [G, R, C]."""
        pixels = np.zeros((len(counts), len(rows), len(columns)), bool)
        for index, (height, width) in enumerate(_checked(sizes)):
            ends = np.cumsum(_run_lengths(index, counts[index], height * width))
            inside = pixels[index, : np.sum(rows < height), : np.sum(columns < width)]
            positions = columns[: inside.shape[1]] * height + rows[: inside.shape[0], None]
            inside[:] = np.searchsorted(ends, positions, side="right") % 2  # of the run that a pixel lies in
        return pixels

    @staticmethod
    def rle_moments(sizes: NDArray[np.int64], counts: list[bytes]) -> NDArray[np.int64]:
        """Areas and sums of x and of y: int64 [G, 3]."""
        moments = [
            _moments(_run_lengths(index, counts[index], height * width), height)
            for index, (height, width) in enumerate(_checked(sizes))
        ]
        return np.array(moments, dtype=np.int64).reshape(-1, 3)


def _checked(sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
    return [_checked_size(f"rles[{index}]: size", size) for index, size in enumerate(sizes.tolist())]


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
    ends = np.cumsum(runs)
    begins, ends = ends[::2][: len(ends) // 2], ends[1::2]
    sums = [int((above(ends, height) - above(begins, height)).sum()) for above in (_sum_of_x, _sum_of_y)]
    return int((ends - begins).sum()), sums[0], sums[1]


def _sum_of_x(ends: NDArray[np.int64], height: int) -> NDArray[np.int64]:
    """Of all positions before an end, which run down the columns."""
    columns, rest = np.divmod(ends, height)
    return height * (columns * (columns - 1) // 2) + rest * columns


def _sum_of_y(ends: NDArray[np.int64], height: int) -> NDArray[np.int64]:
    columns, rest = np.divmod(ends, height)
    return columns * (height * (height - 1) // 2) + rest * (rest - 1) // 2
