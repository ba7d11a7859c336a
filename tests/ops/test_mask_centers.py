"""`mask_centers` beyond what the OpSpec driver does: values by hand and by a sum over the set pixels."""

from __future__ import annotations

import pytest
import torch

from condinst.ops import mask_centers
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("mask_centers"))


@each_backend
def test_values_by_hand(backend: str) -> None:
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 2, 3:6] = True
    masks[2, 5, 7] = True
    centers = mask_centers(masks, backend=backend)
    assert centers[0].tolist() == [4.0, 2.0]
    assert centers[1].isnan().all()
    assert centers[2].tolist() == [7.0, 5.0]


@each_backend
@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 32, 63, 64, 65, 127, 200, 333])
def test_means_of_pixel_indices(width: int, backend: str) -> None:
    masks = torch.rand(3, 11, width, generator=torch.Generator().manual_seed(width)) > 0.7
    expected = torch.stack([mask.nonzero().double().mean(dim=0).flip(0).float() for mask in masks])
    assert torch.equal(mask_centers(masks, backend=backend).nan_to_num(-1), expected.nan_to_num(-1))


@each_backend
def test_sums_that_do_not_fit_into_32_bits(backend: str) -> None:
    """Every pixel is 255: the sum of x * m alone is 2.6e11 for these rows, and a lane of a vector holds 2^31."""
    width = 45_000
    masks = torch.full((1, 2, width), 255, dtype=torch.uint8)
    assert mask_centers(masks, backend=backend).tolist() == [[(width - 1) / 2, 0.5]]


def test_rows_longer_than_a_vector_can_sum() -> None:
    """A lane of 32 bits takes 33418 vectors of 64 pixels."""
    width = 2_400_001
    masks = torch.full((1, 1, width), 255, dtype=torch.uint8)
    masks[0, 0, -1] = 0
    assert mask_centers(masks, backend="cpp").tolist() == [[(width - 2) / 2, 0.0]]
