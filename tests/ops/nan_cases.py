"""Masks with NaN, and the pixels that NaN reaches, by loops: for the tests of the operators that resample masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CELLS = (4, 5)
WIDE = (19, 70)
"""The cells of a map with more cells than a vector, a word of bits, or a block of either."""

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """Maps with NaN in some cells, and the sizes on their way to pixels."""

    cells: tuple[int, int]
    stride: int
    network: tuple[int, int]
    output: tuple[int, int]
    dtype: torch.dtype

    @property
    def options(self) -> dict[str, Any]:
        """The options of `masks_to_image` and `masks_to_rle`."""
        return {"mask_stride": self.stride, "network_size": self.network, "output_size": self.output}

    @property
    def nan(self) -> Tensor:
        """Whether cells [K, h, w] are NaN: a single cell (each of CELLS in turn), several, all or no cells."""
        height, width = self.cells
        generator = np.random.default_rng(0)
        single = np.zeros((20, height * width), dtype=bool)
        single[np.arange(20), generator.choice(height * width, 20, replace=False)] = True
        several = np.zeros((4, height, width), dtype=bool)
        several[0, 1:3, 2:4] = True
        several[1] = generator.random((height, width)) < 0.05
        several[2] = True
        return torch.from_numpy(np.concatenate([single.reshape(-1, height, width), several]))

    def logits(self, value: float) -> Tensor:
        """Logits that are NaN in these cells, and `value` in the others."""
        return torch.where(self.nan, torch.nan, value).to(self.dtype)


def all_cases(stride: int) -> list[Case]:
    """Sizes that are equal, equal on one axis, larger and smaller, with and without padding that is cropped.

    Each case has the next dtype in turn, so that a test takes only seconds.
    """
    height, width = CELLS[0] * stride, CELLS[1] * stride
    sizes = []
    for network in ((height, width), (height - stride // 2 - 1, width - stride)):  # the second ends within a cell
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
        ]
        sizes += [(CELLS, network, output) for output in outputs]
    if stride in (1, 4):
        network = (WIDE[0] * stride, WIDE[1] * stride - 1)
        sizes += [(WIDE, network, network), (WIDE, network, (37, 301))]
    return [
        Case(cells, stride, network, output, DTYPES[index % len(DTYPES)])
        for index, (cells, network, output) in enumerate([*sizes, (CELLS, (height, width), (1, 1))])
    ]


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
        position = max(float(np.float32(step * (i + 0.5) - 0.5)), 0)  # in single precision, as in PyTorch
        lower = min(int(position), network - 1)
        weights[i] += (1 - (position - lower)) * fine[lower]
        weights[i] += (position - lower) * fine[min(lower + 1, network - 1)]
    return weights


@cache
def reached_by_nan(case: Case) -> Tensor:
    """Whether pixels [K, H, W] depend on a cell with NaN."""
    nan = case.nan.numpy()
    rows, columns = (
        upsampling(case.cells[side], case.stride, case.network[side], case.output[side]) for side in (0, 1)
    )
    reached = np.zeros((len(nan), *case.output), dtype=bool)
    for y in range(case.output[0]):
        lines: NDArray[np.bool_] = np.any(nan[:, rows[y] > 0], axis=1)  # [K, w]
        for x in range(case.output[1]):
            reached[:, y, x] = np.any(lines[:, columns[x] > 0], axis=1)
    return torch.from_numpy(reached)


def multiplying_interpolate(x: Tensor, size: tuple[int, int], mode: str, align_corners: bool | None = None) -> Tensor:
    """`torch.nn.functional.interpolate` as on CUDA: even without a resize, a neighbour is multiplied by 0."""
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
