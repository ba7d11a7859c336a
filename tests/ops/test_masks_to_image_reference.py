"""`masks_to_image` against the chain of numerics 1.11 pixel by pixel, and its chunks against the whole."""

from __future__ import annotations

import sys

import pytest
import torch

from condinst import ops
from tests.ops.test_aligned_bilinear import closed_form


def half_pixel(x: torch.Tensor, length: int) -> torch.Tensor:
    """Bilinear resize of the last axis with half-pixel centres, as `align_corners=False`."""
    scale = x.shape[-1] / length
    out = []
    for i in range(length):
        s = max((i + 0.5) * scale - 0.5, 0)
        k = min(int(s), x.shape[-1] - 1)
        a = s - k
        out.append((1 - a) * x[..., k] + a * x[..., min(k + 1, x.shape[-1] - 1)])
    return torch.stack(out, dim=-1)


@pytest.mark.parametrize("output_size", [(29, 37), (13, 50), (60, 9), (1, 1)])
def test_chain(output_size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 8, 10)
    x = closed_form(closed_form(logits.double().sigmoid(), 4).transpose(1, 2), 4)[:, :37, :29]  # [K, x, y] cropped
    x = half_pixel(half_pixel(x, output_size[0]).transpose(1, 2), output_size[1])
    ours = ops.masks_to_image(logits, network_size=(29, 37), output_size=output_size)
    assert ours.dtype == torch.bool and ours.shape == (3, *output_size)
    certain = (x - 0.5).abs() > 1e-5  # closer to the threshold float32 may round either way
    assert torch.equal(ours[certain], (x > 0.5)[certain])


def test_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(7, 6, 6)
    whole = ops.masks_to_image(logits, network_size=(24, 20), output_size=(30, 30))
    # the package exports the function under the module's name
    module = sys.modules["condinst.ops.masks_to_image.reference"]
    monkeypatch.setattr(module, "CHUNK_PIXELS", 2000)  # two masks at a time
    assert torch.equal(ops.masks_to_image(logits, network_size=(24, 20), output_size=(30, 30)), whole)


def test_no_masks() -> None:
    assert ops.masks_to_image(torch.zeros(0, 4, 4), network_size=(16, 16), output_size=(9, 8)).shape == (0, 9, 8)


@pytest.mark.parametrize(
    ("network_size", "output_size", "message"),
    [
        ((17, 16), (8, 8), r"network_size: expected 1 .. \[16, 16\]"),
        ((0, 16), (8, 8), "network_size: expected"),
        ((16, 16), (8, 0), r"output_size: expected \(height, width\) of at least 1"),
    ],
)
def test_bad_input(network_size: tuple[int, int], output_size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.masks_to_image(torch.zeros(1, 4, 4), network_size=network_size, output_size=output_size)
