"""How to test and time `condinst.ops.masks_to_rle`: the calls of `masks_to_image`, and results that are not tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from .. import ops
from ..reference.masks_to_rle import EncodedMasks
from . import masks_to_image
from .spec import Sample


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    return [("masks_to_rle", args) for _, args in masks_to_image.SPEC.native_calls(device)]


SPEC = replace(masks_to_image.SPEC, name="masks_to_rle", native_calls=_native_calls, reference_compiles=False)
"""Not in `SPECS`, whose driver compares tensors: tests/ops/test_masks_to_rle.py uses it."""


def check_equal(actual: EncodedMasks, expected: EncodedMasks) -> None:
    """Raise AssertionError unless two results have the same bytes, areas and boxes."""
    assert actual.rles == expected.rles
    assert actual.areas.dtype == torch.int64
    assert torch.equal(actual.areas, expected.areas)
    assert actual.boxes.dtype == torch.float32
    assert torch.equal(actual.boxes, expected.boxes)


def check_rles(backend: str, sample: Sample) -> None:
    """Raise AssertionError unless a backend has the bytes of the reference for a sample, which may be on any device."""
    actual = ops.masks_to_rle(*sample.args, **sample.kwargs, backend=backend)
    on_cpu = tuple(arg.cpu() for arg in sample.args)
    check_equal(actual, ops.masks_to_rle(*on_cpu, **sample.kwargs, backend="reference"))
