"""`pack_masks` beyond what the OpSpec driver does: NumPy's bits, every number of half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from condinst.ops import pack_masks
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("pack_masks"))


def packed_by_numpy(masks: Tensor) -> Tensor:
    """Bool masks [N, H, W] as words, by way of bytes."""
    size = masks[0].numel()
    bits = np.zeros((masks.shape[0], -(-size // 64) * 64), dtype=bool)
    bits[:, :size] = masks.flatten(1).numpy()
    return torch.from_numpy(np.packbits(bits, axis=1, bitorder="little").view("<i8"))


@each_backend
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 63), (3, 8, 8), (2, 5, 13), (3, 31, 67)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_numpy(backend: str, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.4
    assert torch.equal(pack_masks(masks.to(dtype), backend=backend), packed_by_numpy(masks))


@each_backend
def test_values_by_hand(backend: str) -> None:
    masks = torch.zeros(2, 1, 66, dtype=torch.bool)
    masks[0, 0, [0, 3, 65]] = True
    masks[1, 0, 63] = True  # the sign
    assert pack_masks(masks, backend=backend).tolist() == [[9, 2], [-(2**63), 0]]


@each_backend
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 1 / 3, -2.7, 1e-8, 1e6])
def test_compares_in_the_dtype_of_the_masks(backend: str, dtype: torch.dtype, threshold: float) -> None:
    """All 65536 bit patterns, infinities and NaN among them."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).view(4, 128, 128)
    packed = pack_masks(values, threshold=threshold, backend=backend)
    assert torch.equal(packed, packed_by_numpy(values > threshold))


@pytest.mark.parametrize("masks", [torch.ones(4, 4), torch.ones(1, 4, 4, dtype=torch.int32)])
def test_defensive_checks(masks: Tensor) -> None:
    with pytest.raises(RuntimeError, match="masks: expected|expected dtype bool"):
        torch.ops.condinst.pack_masks(masks, 0.5)
