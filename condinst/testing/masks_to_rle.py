"""How to test and time `condinst.ops.masks_to_rle`: the calls of `masks_to_image`, and results that are not tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from . import masks_to_image


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    return [("masks_to_rle", args) for _, args in masks_to_image.SPEC.native_calls(device)]


SPEC = replace(masks_to_image.SPEC, name="masks_to_rle", native_calls=_native_calls, reference_compiles=False)
"""Not in `SPECS`, whose driver compares tensors: tests/ops/test_masks_to_rle.py uses it."""
