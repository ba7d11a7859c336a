"""`dynamic_mask_head`: the per-instance 1x1 convolutions of section 3.1."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select

from .checks import FLOATING, check_at_least, check_choice, check_same_device, check_shape, check_tensor


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
    backend: str | None = None,
) -> Tensor:
    """Mask logits of K instances, each from its own small network on the shared mask features (section 3.1).

    The network of instance k runs over the features of its image, preceded by the channels
    ``(location_k - pixel) / size_of_interest_k`` (x, then y): `num_layers` 1x1 convolutions, ReLU between them, one
    output channel. Then `aligned_bilinear` by `upsample_factor`.

    Args:
        mask_features: [B, C, H, W] floating.
        params: [K, P] filters: all weights, layer by layer and (out, in) row-major, then all biases.
        locations: [K, 2] (x, y) in pixels of the network input: the location that predicted the instance, not the
            centre of its box.
        image_indices: [K] int64 in 0 .. B-1.
        sizes_of_interest: [K] pixels; SPEC 1.7 takes 64, 128, .. by the pyramid level of the detection.
        feature_stride: pixels per cell of `mask_features`; cell j is at ``j * stride + stride // 2``.
        num_layers: at least 1.
        channels: width of the hidden layers.
        coordinates: "relative", or "none" for features only.
        upsample_factor: at least 1.
        backend: see `condinst.backends.registry`.

    Returns:
        [K, H * upsample_factor, W * upsample_factor] logits, dtype of `mask_features`.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit together; for `params` the message gives the expected P.
    """
    check_tensor("mask_features", mask_features, FLOATING, min_dims=4)
    check_tensor("params", params, FLOATING, min_dims=2)
    check_tensor("locations", locations, FLOATING)
    check_tensor("image_indices", image_indices, (torch.int64,))
    check_tensor("sizes_of_interest", sizes_of_interest, (torch.int64, *FLOATING))
    for name, value in (("feature_stride", feature_stride), ("num_layers", num_layers), ("channels", channels)):
        check_at_least(name, value, 1)
    check_at_least("upsample_factor", upsample_factor, 1)
    check_choice("coordinates", coordinates, ("relative", "none"))
    num_instances = params.shape[0]
    in_channels = mask_features.shape[1] + (2 if coordinates == "relative" else 0)
    check_shape("params", params, (num_instances, num_mask_head_params(in_channels, channels, num_layers)))
    check_shape("locations", locations, (num_instances, 2))
    check_shape("image_indices", image_indices, (num_instances,))
    check_shape("sizes_of_interest", sizes_of_interest, (num_instances,))
    tensors = {
        "params": params,
        "locations": locations,
        "image_indices": image_indices,
        "sizes_of_interest": sizes_of_interest,
    }
    for name, tensor in tensors.items():
        check_same_device(name, tensor, "mask_features", mask_features)
    implementation = select("dynamic_mask_head", backend, mask_features, params)
    return implementation(
        mask_features,
        params,
        locations,
        image_indices,
        sizes_of_interest,
        feature_stride=feature_stride,
        num_layers=num_layers,
        channels=channels,
        coordinates=coordinates,
        upsample_factor=upsample_factor,
    )


def num_mask_head_params(in_channels: int, channels: int, num_layers: int) -> int:
    """Weights and biases of one instance's mask head: 169 for 10 input channels, 8 hidden ones and 3 layers."""
    widths = [in_channels] + [channels] * (num_layers - 1) + [1]
    return sum((widths[i] + 1) * widths[i + 1] for i in range(num_layers))
