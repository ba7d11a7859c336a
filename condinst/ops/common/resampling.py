"""Resampling from map cells to image pixels, as weighted sums: for the references of the mask operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_WEIGHT = 1e-12
"""The least weight above 0, so that the number that stands for NaN outweighs all other cells at any weight."""


class Axis(NamedTuple):
    """Pixels along one axis: the sum over t of weights[t] * cells[taps[t]]."""

    taps: Tensor  # [3, pixels] int64
    weights: Tensor  # [3, pixels] float32


def make_axes(
    cells: Sequence[int], stride: int, network: tuple[int, int], output: tuple[int, int], device: torch.device
) -> tuple[Axis, Axis]:
    """The axes of rows and of columns; the arguments are (height, width) of cells, network input and output."""
    rows, columns = (_make_axis(cells[side], stride, network[side], output[side], device) for side in (0, 1))
    return rows, columns


def resample(cells: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """Resample [h, w, ...] to [W, H, ...], rows first, then columns. Each product and sum is rounded to float32."""
    rows, columns = axes
    lines = _resample_first(cells, rows).transpose(0, 1).contiguous()  # [w, H, ...]
    return _resample_first(lines, columns)


def _resample_first(cells: Tensor, axis: Axis) -> Tensor:
    """Resample [cells, ...] to [pixels, ...]."""
    weights = axis.weights.view(*axis.weights.shape, *[1] * (cells.dim() - 1))  # [3, pixels, 1, ...]
    pixels = cells.index_select(0, axis.taps[0]).mul_(weights[0])
    for tap in (1, 2):
        pixels += cells.index_select(0, axis.taps[tap]).mul_(weights[tap])
    return pixels


def _make_axis(cells: int, stride: int, network: int, pixels: int, device: torch.device) -> Axis:
    """Aligned upsampling by the stride, crop to the network's size and bilinear resize, as one table.

    The upsampling and the resize each use two neighbours, so that a pixel is a weighted sum of three adjacent cells.
    """
    # The positions are those of PyTorch: single precision, rounded once.
    step = torch.tensor(network, dtype=torch.float32) / torch.tensor(pixels, dtype=torch.float32)
    centers = (torch.arange(pixels, dtype=torch.float32) + 0.5).double()  # [pixels]
    positions = (step.double() * centers - 0.5).float().clamp(min=0)  # [pixels]
    lower = positions.long().clamp(max=network - 1)  # [pixels] of the network's input
    upper = (lower + 1).clamp(max=network - 1)  # [pixels]
    shares = (positions - lower.float()).double()  # [pixels]
    sums = torch.zeros(3, pixels, dtype=torch.float64)
    first = ((lower - stride // 2).clamp(min=0) // stride)[None]  # [1, pixels] cells
    for fine, part in ((lower, 1 - shares), (upper, shares)):
        shifted = (fine - stride // 2).clamp(min=0)  # [pixels] where the aligned upsampling begins
        left = shifted // stride  # [pixels]
        right = (left + 1).clamp(max=cells - 1)  # [pixels]
        right_share = (shifted % stride).double() / stride  # [pixels]
        sums.scatter_add_(0, left[None] - first, (part * (1 - right_share))[None])
        sums.scatter_add_(0, right[None] - first, (part * right_share)[None])
    weights = sums.float()  # [3, pixels]
    weights = torch.where(weights > 0, weights.clamp(min=LEAST_WEIGHT), 0)
    taps = (first + torch.arange(3)[:, None]).clamp(max=cells - 1)  # [3, pixels] after the last cell the weight is 0
    return Axis(taps.to(device), weights.to(device))
