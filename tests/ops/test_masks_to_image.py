"""`masks_to_image` beyond what the OpSpec driver does: large sizes, threads."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from condinst.backends import backend_table
from condinst.ops import masks_to_image
from condinst.reference.aligned_bilinear import aligned_bilinear
from condinst.testing.masks_to_image import blobs

BACKENDS = [row.backend for row in backend_table() if row.op == "masks_to_image" and row.status == "available"]
DEVICE = {backend: "cuda" if backend in ("cuda", "triton") else "cpu" for backend in BACKENDS}
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@each_backend
@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("output_size", [(800, 1088), (1203, 1601), (427, 641)])
def test_only_pixels_at_the_threshold_differ(backend: str, is_random: bool, output_size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 200, 272, generator=generator) if is_random else blobs(2, 200, 272)
    fine = aligned_bilinear(logits.sigmoid(), 4)[:, :797, :1085]
    # not in float64, where PyTorch's positions are others
    probabilities = torch.nn.functional.interpolate(fine[:, None], size=output_size, mode="bilinear")[:, 0]
    masks = masks_to_image(
        logits.to(DEVICE[backend]), network_size=(797, 1085), output_size=output_size, backend=backend
    )
    wrong = masks.cpu() != (probabilities > 0.5)
    assert wrong.sum() <= max(masks.numel() / 1e6, 1)
    assert ((probabilities - 0.5).abs()[wrong] <= 1e-6).all()


@each_backend
@pytest.mark.parametrize("num_threads", [1, 3])
def test_any_number_of_threads(backend: str, num_threads: int) -> None:
    logits = torch.randn(2, 50, 70, generator=torch.Generator().manual_seed(2)).to(DEVICE[backend])
    sizes: dict[str, Any] = {"network_size": (200, 280), "output_size": (333, 271)}
    expected = masks_to_image(logits, backend=backend, **sizes)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        assert torch.equal(masks_to_image(logits, backend=backend, **sizes), expected)
    finally:
        torch.set_num_threads(before)


def test_second_fence() -> None:
    logits = torch.zeros(1, 3, 3)
    for arguments in ((0, 3, 3, 3, 3), (1, 4, 3, 3, 3), (1, 3, 3, 0, 3), (1, 3, 3, 1 << 16, 1 << 16)):
        with pytest.raises(RuntimeError, match="expected at least 1"):
            torch.ops.condinst.masks_to_image(logits, *arguments, 0.5)
