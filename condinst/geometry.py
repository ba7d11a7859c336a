"""Where the cells of a feature map lie in the image; the one convention of model and operators (SPEC 1.7)."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_locations(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Positions of a map's cells: cell (i, j) is at (x, y) = (j * stride + stride // 2, i * stride + stride // 2).

    Args:
        height, width: cells of the map.
        stride: pixels per cell.
        device: where the result is.

    Returns:
        [height * width, 2] float32 (x, y) in pixels, row-major.
    """
    x = torch.arange(width, device=device) * stride + stride // 2  # [W]
    y = torch.arange(height, device=device) * stride + stride // 2  # [H]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")  # [H, W]
    return torch.stack([grid_x.flatten(), grid_y.flatten()], dim=1).float()  # [H*W, 2]
