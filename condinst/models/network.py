"""The outputs of the network for a batch, before detections are selected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from condinst.ops.common.mask_network import MaskHeadShape

from ..geometry import pixel_locations
from .config import CondInstConfig
from .heads import HeadOutputs


@dataclass
class Locations:
    """The L locations of all levels, finest first, row-major within a level.

    Args:
        points: [L, 2] (x, y) in network pixels.
        strides: [L] pixels.
        levels: [L] indices into `head_in_features`.
        sizes_of_interest: [L] pixels, divisors of the relative coordinates.
    """

    points: Tensor
    strides: Tensor
    levels: Tensor
    sizes_of_interest: Tensor


@dataclass
class NetworkOutputs:
    """Predictions at all locations of a batch, and the data from which masks are computed.

    Args:
        head: predictions at the L locations.
        locations: the L locations.
        mask_features: [B, C, H / s, W / s], s being `mask_feature_stride`.
        pyramid: the levels of the neck [B, fpn_channels, H_l, W_l], by their names.
    """

    head: HeadOutputs
    locations: Locations
    mask_features: Tensor
    pyramid: dict[str, Tensor]


def make_locations(level_sizes: list[tuple[int, int]], config: CondInstConfig, device: torch.device) -> Locations:
    """The locations of levels with these (height, width). Does not copy from the host."""
    points = [
        pixel_locations(height, width, stride, device)
        for (height, width), stride in zip(level_sizes, config.strides, strict=True)
    ]

    def spread(values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
        """One value per level, repeated for each of its locations: [L]."""
        return torch.cat(
            [
                torch.full((len(level),), value, dtype=dtype, device=device)
                for value, level in zip(values, points, strict=True)
            ]
        )

    return Locations(
        points=torch.cat(points),
        strides=spread(config.strides, torch.float32),
        levels=spread(tuple(range(len(points))), torch.int64),
        sizes_of_interest=spread(config.level_sizes_of_interest, torch.float32),
    )


def mask_head_shape(config: CondInstConfig) -> MaskHeadShape:
    """The shape of a model's dynamic mask heads."""
    return MaskHeadShape(
        feature_stride=config.mask_feature_stride,
        num_layers=config.mask_head_layers,
        channels=config.mask_head_channels,
        coordinates=config.mask_head_coordinates,
        use_features=config.mask_head_features,
        upsample_factor=config.mask_feature_stride // config.mask_output_stride,
    )
