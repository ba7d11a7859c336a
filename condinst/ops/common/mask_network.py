"""The networks of `dynamic_mask_head` and `dynamic_mask_loss`: their options, their size and what the kernels take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import (
    FLOATING,
    check_choice,
    check_constant,
    check_dims,
    check_flag,
    check_index_range,
    check_integer,
    check_same_device,
    check_same_dtype,
    check_shape,
    check_sides,
    check_stride,
    check_tensor,
)

COORDINATES = ("relative", "absolute", "none")
UPSAMPLE_FACTORS = (1, 2, 4)

MAX_LAYERS = 4
MAX_CHANNELS = 16
"""The most channels of hidden layers and of features; kernels/mask_network/mask_network_math.h has the same number."""


@dataclass(frozen=True)
class MaskHeadShape:
    """The options of `dynamic_mask_head` and `dynamic_mask_loss` as one value; they are described there."""

    feature_stride: int = 8
    num_layers: int = 3
    channels: int = 8
    coordinates: str = "relative"
    use_features: bool = True
    upsample_factor: int = 2

    def in_channels(self, feature_channels: int) -> int:
        """Inputs of the first layer: coordinates and features, as far as it takes them."""
        return (feature_channels if self.use_features else 0) + (0 if self.coordinates == "none" else 2)

    def as_keywords(self) -> dict[str, Any]:
        """Keyword arguments of the two operators."""
        return {
            "feature_stride": self.feature_stride,
            "num_layers": self.num_layers,
            "channels": self.channels,
            "coordinates": self.coordinates,
            "use_features": self.use_features,
            "upsample_factor": self.upsample_factor,
        }


def num_mask_head_params(in_channels: int, channels: int, num_layers: int) -> int:
    """Weights and biases of one instance's mask head: 169 for 10 input channels, 8 hidden ones and 3 layers."""
    if num_layers == 1:
        return in_channels + 1
    return (in_channels + 1) * channels + (num_layers - 2) * (channels + 1) * channels + channels + 1


def unsupported_reason(mask_features: Tensor, params: Tensor, *, num_layers: int, channels: int) -> str | None:
    """Why the kernels of `dynamic_mask_head` and `dynamic_mask_loss` cannot run such a network, or None."""
    if num_layers > MAX_LAYERS:
        return f"has up to {MAX_LAYERS} layers, got num_layers {num_layers}"
    if channels > MAX_CHANNELS:
        return f"has up to {MAX_CHANNELS} channels, got channels {channels}"
    if mask_features.shape[1] > MAX_CHANNELS:
        return f"has up to {MAX_CHANNELS} channels of features, got mask_features of {mask_features.shape[1]}"
    return None


def check_mask_head_inputs(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    shape: MaskHeadShape,
) -> None:
    """Check the arguments of `dynamic_mask_head`, which documents the errors; `dynamic_mask_loss` has the same ones."""
    check_tensor("mask_features", mask_features, FLOATING)
    check_dims("mask_features", mask_features, 4)
    check_sides("mask_features", mask_features)
    check_tensor("params", params, FLOATING)
    check_tensor("locations", locations, FLOATING)
    check_tensor("image_indices", image_indices, (torch.int64,))
    check_tensor("sizes_of_interest", sizes_of_interest, (torch.int64, *FLOATING))
    check_same_dtype("params", params, "mask_features", mask_features)
    check_stride("feature_stride", shape.feature_stride)
    check_integer("num_layers", shape.num_layers, 1)
    check_integer("channels", shape.channels, 1)
    check_choice("coordinates", shape.coordinates, COORDINATES)
    check_flag("use_features", shape.use_features)
    check_choice("upsample_factor", shape.upsample_factor, UPSAMPLE_FACTORS)
    in_channels = shape.in_channels(mask_features.shape[1])
    if in_channels == 0:
        raise ValueError("mask_features: expected at least one channel of features or coordinates, got none of both")

    check_dims("params", params, 2)
    num_instances = params.shape[0]
    check_shape("params", params, (num_instances, num_mask_head_params(in_channels, shape.channels, shape.num_layers)))
    check_shape("locations", locations, (num_instances, 2))
    check_constant("locations", locations)
    check_constant("sizes_of_interest", sizes_of_interest)
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
    check_index_range("image_indices", image_indices, mask_features.shape[0])
