"""`dynamic_mask_head` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from .aligned_bilinear import aligned_bilinear


def dynamic_mask_head(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    *,
    feature_stride: int = 8,
    num_layers: int = 3,
    channels: int = 8,
    coordinates: str = "relative",
    upsample_factor: int = 2,
) -> Tensor:
    """The definition of `condinst.ops.dynamic_mask_head`; arguments and result are described there."""
    num_instances = params.shape[0]
    height, width = mask_features.shape[-2:]
    # index_select, as the gradient of indexing by a tensor differs from run to run on the CPU
    x = mask_features.index_select(0, image_indices).flatten(2)  # [K, C, H*W]
    if coordinates == "relative":
        pixels = pixel_locations(height, width, feature_stride, locations)  # [H*W, 2]
        relative = (locations[:, None] - pixels) / sizes_of_interest[:, None, None]  # [K, H*W, 2]
        x = torch.cat([relative.transpose(1, 2).to(x.dtype), x], dim=1)  # [K, 2 + C, H*W]

    widths = [x.shape[1]] + [channels] * (num_layers - 1) + [1]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))  # (out, in) per layer
    sizes = [rows * columns for rows, columns in shapes] + widths[1:]  # all weights first, then all biases
    weights_and_biases = params.to(x.dtype).split(sizes, dim=1)
    for layer, (rows, columns) in enumerate(shapes):
        weight = weights_and_biases[layer].reshape(num_instances, rows, columns)  # [K, out, in]
        bias = weights_and_biases[num_layers + layer].unsqueeze(2)  # [K, out, 1]
        x = torch.baddbmm(bias, weight, x)  # [K, out, H*W]
        if layer < num_layers - 1:
            x = x.relu()
    return aligned_bilinear(x.reshape(num_instances, height, width), upsample_factor)  # [K, H*f, W*f]


def pixel_locations(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """Image positions (x, y) in pixels of the cells of a map, row-major: [height * width, 2], dtype of `like`."""
    x = torch.arange(width, device=like.device) * stride + stride // 2  # [W]
    y = torch.arange(height, device=like.device) * stride + stride // 2  # [H]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")  # [H, W]
    return torch.stack([grid_x.flatten(), grid_y.flatten()], dim=1).to(like.dtype)  # [H*W, 2]
