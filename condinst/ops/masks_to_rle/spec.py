"""How to test and time `condinst.ops.masks_to_rle`, with the samples of `masks_to_image`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from condinst.ops.masks_to_image.spec import SPEC as MASKS_TO_IMAGE
from condinst.testing.spec import Sample

from . import EncodedMasks, masks_to_rle
from .reference import masks_to_rle as reference


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    return [("masks_to_rle", args) for _, args in MASKS_TO_IMAGE.native_calls(device)]


SPEC = replace(
    MASKS_TO_IMAGE,
    name="masks_to_rle",
    native_calls=_native_calls,
    reference_compiles=False,
    returns_tensors=False,
)
"""`check_rles` compares the results."""


def check_equal(actual: EncodedMasks, expected: EncodedMasks) -> None:
    """Raise AssertionError unless two results have the same bytes, areas and boxes."""
    assert actual.rles == expected.rles
    assert actual.areas.dtype == torch.int64
    assert torch.equal(actual.areas, expected.areas)
    assert actual.boxes.dtype == torch.float32
    assert torch.equal(actual.boxes, expected.boxes)


def check_rles(backend: str, sample: Sample) -> None:
    """Raise AssertionError unless a backend returns the bytes of the reference for a sample on any device."""
    actual = masks_to_rle(*sample.args, **sample.kwargs, backend=backend)
    on_cpu = tuple(arg.cpu() for arg in sample.args)
    check_equal(actual, reference(*on_cpu, **sample.kwargs))
