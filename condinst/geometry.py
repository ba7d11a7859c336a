"""Where the cells of a feature map and the pixels of a mask lie (numerics 1.7). All packages share this convention."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

MOST_PIXELS = (1 << 31) - 1
"""The most pixels of any picture or mask: COCO's run lengths, and the libraries that read them, count in 32 bits."""


def row_slices(height: int, width: int, pixels: int) -> Iterator[slice]:
    """The rows of a picture in strips of about so many pixels, for work whose memory should not grow with pictures."""
    rows = max(1, pixels // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def tile_slices(height: int, width: int, pixels: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the parts of a picture, as in `row_slices`; a row of more pixels is in several parts."""
    for rows in row_slices(height, width, pixels):
        for left in range(0, width, pixels):
            yield rows, slice(left, min(left + pixels, width))


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


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The smallest box round each mask, with the far edges outside the last pixel.

    Args:
        masks: bool [G, H, W], none of them empty.

    Returns:
        float32 [G, 4] xyxy px.
    """
    height, width = masks.shape[-2:]
    if not len(masks):
        return torch.zeros(0, 4, device=masks.device)
    rows, columns = masks.any(2).to(torch.uint8), masks.any(1).to(torch.uint8)
    x1, y1 = columns.argmax(1), rows.argmax(1)
    x2, y2 = width - columns.flip(1).argmax(1), height - rows.flip(1).argmax(1)
    return torch.stack([x1, y1, x2, y2], 1).to(torch.float32)
