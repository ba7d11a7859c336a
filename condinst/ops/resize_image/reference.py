"""`resize_image` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHT_BITS = 22


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The definition of `condinst.ops.resize_image`; arguments and result are described there."""
    height, width = size
    columns_first = height < image.shape[1] and image.shape[1] - height > 2 * (image.shape[2] - width)
    for axis in (1, 2) if columns_first else (2, 1):
        image = _resize_axis(image.transpose(axis, 2), size[axis - 1]).transpose(axis, 2)
    return image.clone(memory_format=torch.contiguous_format)  # [C, height, width]


def _resize_axis(image: Tensor, size: int) -> Tensor:
    """[C, R, N] to [C, R, size] along the last axis."""
    if image.shape[2] == size:
        return image
    neighbours, weights = _weights(image.shape[2], size, image.device)  # [size, taps] each
    sums = torch.full((*image.shape[:2], size), 1 << (WEIGHT_BITS - 1), dtype=torch.int32, device=image.device)
    for tap in range(neighbours.shape[1]):
        sums += image[:, :, neighbours[:, tap]].int() * weights[:, tap]  # [C, R, size]
    return (sums >> WEIGHT_BITS).clamp(max=255).to(torch.uint8)


def _weights(size_from: int, size_to: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Neighbours and weights of each pixel, int64 and int32 [size_to, taps]; 0 for neighbours that it does not have."""
    scale = size_from / size_to
    support = max(scale, 1.0)
    centers = (torch.arange(size_to, dtype=torch.float64) + 0.5) * scale  # [size_to]
    first = (centers - support + 0.5).long().clamp(min=0)  # [size_to]
    end = (centers + support + 0.5).long().clamp(max=size_from)  # [size_to]
    taps = 2 * (int(support) + 1) + 1
    neighbours = first[:, None] + torch.arange(taps)  # [size_to, taps]
    distances = (neighbours.double() - centers[:, None] + 0.5) * (1.0 / support)  # [size_to, taps]
    shares = (1.0 - distances.abs()).clamp(min=0).where(neighbours < end[:, None], 0)  # [size_to, taps]
    total = shares.new_zeros(size_to)
    for tap in range(taps):  # Pillow adds them in this order
        total += shares[:, tap]
    weights = (0.5 + shares / total[:, None] * (1 << WEIGHT_BITS)).int()  # [size_to, taps]
    return neighbours.clamp(max=size_from - 1).to(device), weights.to(device)
