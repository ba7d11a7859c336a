"""What the Triton adapters of `dynamic_mask_head` and `dynamic_mask_loss` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from condinst.backends.triton import float64_reason

from . import mask_network

if TYPE_CHECKING:
    from condinst.kernels.mask_network.specialization import Specialization

NUM_CHUNKS = 16
"""Parts of a map that are summed apart: enough programs for a GPU, and memory that does not grow with the map."""

TILES = {1: (8, 32), 2: (16, 16), 4: (16, 16)}
"""Rows and columns of a tile by upsampling factor: square ones own most of what they compute, but need a halo first."""

LAUNCH = {"num_warps": 8, "num_stages": 1}
"""By registers: with 4 warps the backward kernels spill. Nothing was timed on a GPU."""

PRECISION = "ieee"
"""How ``tl.dot`` multiplies float32; see `Specialization`."""

TENSORS = "Tensor mask_features, Tensor params, Tensor locations, Tensor image_indices, Tensor sizes_of_interest"
OPTIONS = "int feature_stride, int num_layers, int channels, str coordinates, bool use_features, int upsample_factor"
"""As both schemas have them; `Arguments` is in this order."""

Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, int, str, bool, int]


def unsupported_reason(mask_features: Tensor, params: Tensor, *, num_layers: int, channels: int) -> str | None:
    """Why the Triton kernels cannot do a call, or None."""
    reason = float64_reason(mask_features)
    return reason or mask_network.unsupported_reason(mask_features, params, num_layers=num_layers, channels=channels)


@dataclass(frozen=True)
class Instances:
    """The arguments that both operators have, as the kernels take them.

    Attributes:
        features: [B, C, H, W] contiguous, float64 if `mask_features` are, otherwise float32; the others likewise.
        params: [K, P].
        locations: [K, 2].
        image_indices: [K] int64.
        sizes: [K].
        stride: pixels per cell.
        specialization: what the kernels are compiled for.
    """

    features: Tensor
    params: Tensor
    locations: Tensor
    image_indices: Tensor
    sizes: Tensor
    stride: int
    specialization: Specialization

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the features."""
        _, channels, height, width = self.features.shape
        return channels, height, width

    @property
    def num_instances(self) -> int:
        """K."""
        return self.params.shape[0]

    @property
    def num_tiles(self) -> int:
        """Tiles of a map; see tiles_triton.py."""
        spec = self.specialization
        _, height, width = self.shape
        rows, columns = spec.rows - 2 * spec.halo, spec.columns - 2 * spec.halo
        return -(-height // rows) * -(-width // columns)

    @property
    def num_chunks(self) -> int:
        """Parts of a map that are summed apart."""
        return min(self.num_tiles, NUM_CHUNKS)

    def by_image(self) -> tuple[Tensor, Tensor]:
        """The instances sorted by image, and where those of each image begin: [K] and [B + 1], without waiting."""
        indices, order = torch.sort(self.image_indices, stable=True)
        images = torch.arange(self.features.shape[0] + 1, device=indices.device)
        return order, torch.searchsorted(indices, images)

    def grad_features(self) -> Tensor:
        """Where the gradient of the features goes: zeros where no kernel writes them."""
        if self.specialization.num_features == 0:
            return torch.zeros_like(self.features)
        return torch.empty_like(self.features)


def prepare(*arguments: *Arguments) -> Instances:
    """The arguments of ``torch.ops.condinst_triton.dynamic_mask_head`` as the kernels take them."""
    # here, as the package is to be of use without the kernels, too
    from condinst.kernels.mask_network.specialization import COORDINATES, Specialization

    features, params, locations, image_indices, sizes, stride, num_layers, channels, coordinates, use, factor = (
        arguments
    )
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    features, params, locations, sizes = (t.to(dtype).contiguous() for t in (features, params, locations, sizes))
    rows, columns = TILES[factor]
    specialization = Specialization(
        num_layers=num_layers,
        channels=channels,
        num_features=features.shape[1] if use else 0,
        coordinates=COORDINATES.index(coordinates),
        factor=factor,
        rows=rows,
        columns=columns,
        precision=PRECISION,
    )
    return Instances(features, params, locations, image_indices.contiguous(), sizes, stride, specialization)
