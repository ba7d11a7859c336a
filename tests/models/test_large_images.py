"""Memory for many detections on a large image: the masks as pixels would be 24 GB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from condinst.benchmarking.memory import allocator_peak_mib, resident_peak_mib
from tests.models.tiny import make_image, make_model

OUTPUT_SIZE = (4000, 6000)


def make_call(device: str = "cpu") -> Callable[[], Any]:
    """A model that finds 1,000 objects and gives them as run lengths at 6000 x 4000."""
    model = make_model(max_detections=1000, nms_threshold=1.0, max_size_test=192).to(device)
    image = make_image(128, 192)

    def call() -> None:
        (result,) = model([image], resize=False, output_sizes=[OUTPUT_SIZE], mask_format="rle")
        if [rle["size"] for rle in result["rles"]] != [list(OUTPUT_SIZE)] * 1000:
            raise AssertionError(f"expected 1000 masks of {OUTPUT_SIZE}, got {len(result['rles'])}")

    return call


def test_memory_does_not_grow_with_pixels_times_detections() -> None:
    growth = resident_peak_mib(make_call)
    if growth is None:
        pytest.skip("the operating system does not tell the peak")
    assert growth < 200


@pytest.mark.gpu
def test_memory_of_the_gpu() -> None:
    call = make_call("cuda")
    call()
    assert allocator_peak_mib(call, torch.device("cuda")) < 200
