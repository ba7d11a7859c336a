"""`dynamic_mask_head` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.geometry import pixel_locations
from condinst.ops.aligned_bilinear.reference import aligned_bilinear
from condinst.ops.common.mask_network import MaskHeadShape

CHUNK_ELEMENTS = 1 << 20
"""The most inputs of the first layer that are made at a time: 4 MiB stay in the cache and need no new memory pages."""


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
    use_features: bool = True,
    upsample_factor: int = 2,
) -> Tensor:
    """The definition of `condinst.ops.dynamic_mask_head`; arguments and result are described there."""
    logits = wide_mask_logits(
        mask_features,
        params,
        locations,
        image_indices,
        sizes_of_interest,
        MaskHeadShape(feature_stride, num_layers, channels, coordinates, use_features, upsample_factor),
    )
    return logits.to(mask_features.dtype)  # [K, H*f, W*f]


def wide_mask_logits(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    shape: MaskHeadShape,
) -> Tensor:
    """The logits before they are rounded to the dtype of `mask_features`: float64 for float64, otherwise float32."""
    dtype = torch.float64 if mask_features.dtype == torch.float64 else torch.float32
    height, width = mask_features.shape[-2:]
    features = (mask_features if shape.use_features else mask_features[:, :0]).to(dtype)  # [B, C or 0, H, W]
    in_channels = shape.in_channels(mask_features.shape[1])
    widths = [in_channels] + [shape.channels] * (shape.num_layers - 1) + [1]
    pixels = pixel_locations(height, width, shape.feature_stride, mask_features.device).to(dtype)  # [H*W, 2]
    points = locations.detach().to(dtype)[:, None]  # [K, 1, 2]
    sizes = sizes_of_interest.detach().to(dtype)[:, None, None]  # [K, 1, 1]
    chunk = max(1, CHUNK_ELEMENTS // max(1, in_channels * height * width))
    parts = []
    for start in range(0, max(1, params.shape[0]), chunk):
        rows = slice(start, start + chunk)
        # index_select, as the gradient of indexing by a tensor differs from run to run on the CPU
        x = features.index_select(0, image_indices[rows]).flatten(2)  # [k, C, H*W]
        if shape.coordinates != "none":
            xy = (pixels if shape.coordinates == "absolute" else points[rows] - pixels) / sizes[rows]  # [k, H*W, 2]
            x = torch.cat([xy.transpose(1, 2), x], dim=1)  # [k, 2 + C, H*W]
        with torch.autocast(x.device.type, enabled=False):
            x = _mask_network(x, params[rows].to(dtype), widths)  # [k, 1, H*W]
        parts.append(aligned_bilinear(x.reshape(x.shape[0], height, width), shape.upsample_factor))  # [k, H*f, W*f]
    return torch.cat(parts)  # [K, H*f, W*f]


def _mask_network(x: Tensor, params: Tensor, widths: list[int]) -> Tensor:
    """Apply the layers [k, P] of each instance to its pixels [k, widths[0], N], with ReLU between them: [k, 1, N]."""
    num_layers = len(widths) - 1
    shapes = list(zip(widths[1:], widths[:-1], strict=True))  # (out, in) per layer
    sizes = [rows * columns for rows, columns in shapes] + widths[1:]  # all weights first, then all biases
    weights_and_biases = params.split(sizes, dim=1)
    for layer, (rows, columns) in enumerate(shapes):
        weight = weights_and_biases[layer].reshape(-1, rows, columns)  # [k, out, in]
        bias = weights_and_biases[num_layers + layer].unsqueeze(2)  # [k, out, 1]
        x = torch.baddbmm(bias, weight, x)  # [k, out, N]
        if layer < num_layers - 1:
            x = x.relu()
    return x
