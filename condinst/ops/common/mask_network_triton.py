"""Code that the Triton adapters of `dynamic_mask_head` and `dynamic_mask_loss` share."""

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
"""The number of parts of a map that are summed separately: enough programs for a GPU, and a bound on the memory."""

TILES = {1: (8, 32), 2: (16, 16), 4: (16, 16)}
"""Rows and columns of a tile by upsampling factor. Square tiles have the least halo for the pixels they write."""

LAUNCH = {"num_warps": 8, "num_stages": 1}
"""Chosen by registers, because the backward kernels spill with 4 warps. It was not timed on a GPU."""

PRECISION = "ieee"
"""How ``tl.dot`` multiplies float32; see `Specialization`."""

TENSORS = "Tensor mask_features, Tensor params, Tensor locations, Tensor image_indices, Tensor sizes_of_interest"
OPTIONS = "int feature_stride, int num_layers, int channels, str coordinates, bool use_features, int upsample_factor"
"""The options in the schemas of both operators; `Arguments` has the same order."""

Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, int, str, bool, int]


def unsupported_reason(mask_features: Tensor, params: Tensor, *, num_layers: int, channels: int) -> str | None:
    """Why the Triton kernels cannot do a call, or None."""
    reason = float64_reason(mask_features)
    return reason or mask_network.unsupported_reason(mask_features, params, num_layers=num_layers, channels=channels)


@dataclass(frozen=True)
class Instances:
    """The arguments that both operators share, in the form that the kernels take.

    Attributes:
        features: [B, C, H, W] contiguous, float64 if `mask_features` are, otherwise float32, as are the other values.
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
        """The number of parts of a map that are summed separately."""
        return min(self.num_tiles, NUM_CHUNKS)

    def by_image(self) -> tuple[Tensor, Tensor]:
        """The instances sorted by image [K], and where each image begins among them [B + 1]; does not synchronise."""
        indices, order = torch.sort(self.image_indices, stable=True)
        images = torch.arange(self.features.shape[0] + 1, device=indices.device)
        return order, torch.searchsorted(indices, images)

    def grad_features(self) -> Tensor:
        """The memory for the gradient of the features: zeros, if no kernel writes it."""
        if self.specialization.num_features == 0:
            return torch.zeros_like(self.features)
        return torch.empty_like(self.features)


def prepare(*arguments: *Arguments) -> Instances:
    """Convert the arguments of ``torch.ops.condinst_triton.dynamic_mask_head`` to the form that the kernels take."""
    # Imported here, because the package must also work without the kernels.
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
