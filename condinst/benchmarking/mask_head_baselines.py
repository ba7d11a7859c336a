"""Other implementations of the dynamic mask head: the study of the mask head compares the kernels with them.

The functions have the signature of `condinst.ops.dynamic_mask_head`, with relative coordinates and with features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.geometry import pixel_locations
from condinst.ops.aligned_bilinear.reference import aligned_bilinear

CHUNK_SIZE = 4
"""Instances per chunk of the chunked product, by measurement: 8 channels of 100 x 136 stay in the L2 cache."""

ChunkLogits = Callable[[Tensor, list[Tensor], list[Tensor], int], Tensor]


def grouped_convolution(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    *,
    feature_stride: int = 8,
    num_layers: int = 3,
    channels: int = 8,
    upsample_factor: int = 2,
) -> Tensor:
    """The published formulation: gathered features for each instance, and convolutions with a group per instance."""
    num_instances, (in_channels, height, width) = params.shape[0], mask_features.shape[1:]
    pixels = pixel_locations(height, width, feature_stride, mask_features.device)  # [H*W, 2]
    relative = (locations[:, None] - pixels) / sizes_of_interest[:, None, None]  # [K, H*W, 2]
    gathered = mask_features[image_indices].reshape(num_instances, in_channels, height * width)
    x = torch.cat([relative.permute(0, 2, 1).to(mask_features.dtype), gathered], dim=1)  # [K, 2 + C, H*W]
    x = x.reshape(1, -1, height, width)  # [1, K * (2 + C), H, W]
    weights, biases = _split(params, 2 + in_channels, channels, num_layers)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = F.conv2d(x, weight.flatten(0, 1)[:, :, None, None], bias.flatten(), groups=num_instances)
        if layer < num_layers - 1:
            x = F.relu(x)
    return aligned_bilinear(x.reshape(num_instances, height, width), upsample_factor)  # [K, H*f, W*f]


def chunked_matmul(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    *,
    feature_stride: int = 8,
    num_layers: int = 3,
    channels: int = 8,
    upsample_factor: int = 2,
    chunk_size: int = CHUNK_SIZE,
    network: ChunkLogits | None = None,
) -> Tensor:
    """The fastest formulation in plain PyTorch that we know, for inference.

    No features are gathered: the inputs of the first layer are features, pixel positions and a constant, so that the
    centre of an instance is part of its weights. A few instances at a time run through all layers and the upsampling,
    and stay in the cache.

    Args:
        mask_features, params, locations, image_indices, sizes_of_interest: see `condinst.ops.dynamic_mask_head`.
        feature_stride, num_layers, channels, upsample_factor: see `condinst.ops.dynamic_mask_head`.
        chunk_size: instances per chunk.
        network: `chunk_logits`, compiled or not.

    Returns:
        [K, H * upsample_factor, W * upsample_factor] logits.
    """
    height, width = mask_features.shape[-2:]
    logits = mask_features.new_empty(params.shape[0], height * upsample_factor, width * upsample_factor)
    order = image_indices.argsort(stable=True)
    chunks = logits_in_chunks(
        mask_features,
        params[order],
        locations[order],
        image_indices,
        sizes_of_interest[order],
        feature_stride=feature_stride,
        num_layers=num_layers,
        channels=channels,
        upsample_factor=upsample_factor,
        chunk_size=chunk_size,
        network=network or chunk_logits,
    )
    for instances, part in chunks:
        logits[instances] = part
    return logits if mask_features.shape[0] == 1 else logits[order.argsort()]


def _split(params: Tensor, in_channels: int, channels: int, num_layers: int) -> tuple[list[Tensor], list[Tensor]]:
    """Filters [K, P] as weights [K, out, in] and biases [K, out] of each layer."""
    widths = [in_channels] + [channels] * (num_layers - 1) + [1]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    parts = params.split([rows * columns for rows, columns in shapes] + widths[1:], dim=1)
    weights = [part.reshape(-1, *shape) for part, shape in zip(parts[:num_layers], shapes, strict=True)]
    return weights, list(parts[num_layers:])


def logits_in_chunks(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    *,
    feature_stride: int,
    num_layers: int,
    channels: int,
    upsample_factor: int,
    chunk_size: int,
    network: ChunkLogits,
) -> Iterator[tuple[slice, Tensor]]:
    """Logits of a few instances at a time; all arguments of instances but `image_indices` are sorted by image."""
    num_images, in_channels, height, width = mask_features.shape
    weights, biases = _split(params, 2 + in_channels, channels, num_layers)
    # w . (location - pixel) / size + b = -(w / size) . pixel + (b + (w / size) . location)
    per_pixel = weights[0][:, :, :2] / sizes_of_interest[:, None, None]  # [K, out, 2]
    centre = biases[0] + (per_pixel * locations[:, None]).sum(dim=2)  # [K, out]
    weights[0] = torch.cat([weights[0][:, :, 2:], -per_pixel, centre[:, :, None]], dim=2)  # [K, out, C + 3]
    pixels = pixel_locations(height, width, feature_stride, mask_features.device).to(mask_features.dtype).T
    start = 0
    for image, count in enumerate(image_indices.bincount(minlength=num_images).tolist()):
        inputs = torch.cat([mask_features[image].flatten(1), pixels, torch.ones_like(pixels[:1])])  # [C + 3, H*W]
        for first in range(start, start + count, chunk_size):
            instances = slice(first, min(first + chunk_size, start + count))
            part = network(
                inputs.view(-1, height, width),
                [weight[instances] for weight in weights],
                [bias[instances] for bias in biases],
                upsample_factor,
            )
            yield instances, part
        start += count


def chunk_logits(inputs: Tensor, weights: list[Tensor], biases: list[Tensor], upsample_factor: int) -> Tensor:
    """All layers of k instances on one image, then the upsampling. It can also be compiled.

    Args:
        inputs: [C + 3, H, W]: features, pixel positions, ones.
        weights: [k, out, in] of each layer; those of the first hold its bias, which is not used.
        biases: [k, out] of each layer.
        upsample_factor: f.

    Returns:
        [k, H*f, W*f].
    """
    (_, height, width), num_instances = inputs.shape, weights[0].shape[0]
    x = (weights[0].flatten(0, 1) @ inputs.flatten(1)).view(num_instances, -1, height * width)  # [k, out, H*W]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        x = torch.baddbmm(bias[:, :, None], weight, x.relu_())
    rows_done = _upsample(x.view(num_instances, height, width), upsample_factor, dim=1)
    return _upsample(rows_done, upsample_factor, dim=2)


def _upsample(x: Tensor, factor: int, dim: int) -> Tensor:
    """`aligned_bilinear` along one axis, without the padding: output f * k + i lies i - f // 2 from cell k."""
    if factor == 1:
        return x
    last = x.shape[dim] - 1
    before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, last)], dim)
    after = torch.cat([x.narrow(dim, 1, last), x.narrow(dim, last, 1)], dim)
    steps = [(i - factor // 2) / factor for i in range(factor)]
    fine = [x.lerp(before, -step) if step < 0 else x.lerp(after, step) if step > 0 else x for step in steps]
    return torch.stack(fine, dim + 1).flatten(dim, dim + 1)
