"""Masks with NaN, and by loops the pixels that NaN reaches: for the tests of the operators that resample masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CELLS = (4, 5)
"""Height and width of the maps of all cases."""


@dataclass(frozen=True)
class Sizes:
    """From the cells of a mask to the pixels of an image."""

    stride: int
    network: tuple[int, int]
    output: tuple[int, int]

    @property
    def options(self) -> dict[str, Any]:
        """As `masks_to_image` and `masks_to_rle` take them."""
        return {"mask_stride": self.stride, "network_size": self.network, "output_size": self.output}


def all_sizes(stride: int) -> list[Sizes]:
    """Equal sizes, equal on one axis, larger and smaller, with and without padding that is cut off."""
    height, width = CELLS[0] * stride, CELLS[1] * stride
    networks = [(height, width), (height - stride // 2 - 1, width - stride)]  # part of a cell is cut off, and a whole
    cases = []
    for network in networks:
        rows, columns = network
        outputs = [
            network,
            (rows, 2 * columns + 1),
            (rows, (columns + 1) // 2),
            (2 * rows, columns),
            (-(-rows // 3), columns),
            (3 * rows, 3 * columns),
            (rows + 1, columns + 2),
            (-(-rows // 2), -(-columns // 3)),
            (1, 1),
        ]
        cases += [Sizes(stride, network, output) for output in outputs]
    return cases


def nan_places() -> NDArray[np.bool_]:
    """Where masks [K, h, w] have NaN: one cell of them for each mask, then several, all, none."""
    height, width = CELLS
    single = np.eye(height * width, dtype=bool).reshape(-1, height, width)  # borders and corners are among them
    others = np.zeros((4, height, width), dtype=bool)
    others[0, 1:3, 2:4] = True
    others[1, 0, 0] = others[1, 2, 3] = True
    others[2] = True
    return np.concatenate([single, others])


def upsampling(cells: int, stride: int, network: int, pixels: int) -> NDArray[np.float64]:
    """Weights [pixels, cells]: aligned upsampling, crop, and bilinear resize with half-pixel centres."""
    fine = np.zeros((network, cells))
    for i in range(network):
        position = max(i - stride // 2, 0) / stride
        left = int(position)
        fine[i, left] += 1 - (position - left)
        fine[i, min(left + 1, cells - 1)] += position - left
    weights = np.zeros((pixels, cells))
    step = float(np.float32(network) / np.float32(pixels))
    for i in range(pixels):
        position = max(float(np.float32(step * (i + 0.5) - 0.5)), 0)  # in single precision, as PyTorch
        lower = min(int(position), network - 1)
        weights[i] += (1 - (position - lower)) * fine[lower]
        weights[i] += (position - lower) * fine[min(lower + 1, network - 1)]
    return weights


@cache
def reached_by_nan(sizes: Sizes) -> Tensor:
    """The pixels [K, H, W] that have a share of a cell of `nan_places`."""
    nan = nan_places()
    rows, columns = (upsampling(CELLS[side], sizes.stride, sizes.network[side], sizes.output[side]) for side in (0, 1))
    reached = np.zeros((len(nan), *sizes.output), dtype=bool)
    for y in range(sizes.output[0]):
        lines: NDArray[np.bool_] = np.any(nan[:, rows[y] > 0], axis=1)  # [K, w]
        for x in range(sizes.output[1]):
            reached[:, y, x] = np.any(lines[:, columns[x] > 0], axis=1)
    return torch.from_numpy(reached)


def multiplying_interpolate(x: Tensor, size: tuple[int, int], mode: str, align_corners: bool | None = None) -> Tensor:
    """`torch.nn.functional.interpolate` as on CUDA: also where nothing is resized, a neighbour is multiplied by 0."""
    assert mode == "bilinear"
    for dim, pixels in zip((2, 3), size, strict=True):
        cells = x.shape[dim]
        places = torch.arange(pixels, dtype=torch.float32)
        if align_corners:
            positions = places * ((cells - 1) / max(pixels - 1, 1))
        else:
            positions = ((places + 0.5) * (cells / pixels) - 0.5).clamp(min=0)
        lower = positions.long().clamp(max=cells - 1)
        upper = (lower + 1).clamp(max=cells - 1)
        shares = (positions - lower)[:, None] if dim == 2 else positions - lower
        x = (1 - shares) * x.index_select(dim, lower) + shares * x.index_select(dim, upper)
    return x
