"""How to test and time `condinst.ops.masks_to_rle`: the calls of `masks_to_image`, and results that are not tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from condinst.ops.masks_to_image.spec import SPEC as MASKS_TO_IMAGE


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    return [("masks_to_rle", args) for _, args in MASKS_TO_IMAGE.native_calls(device)]


SPEC = replace(
    MASKS_TO_IMAGE,
    name="masks_to_rle",
    native_calls=_native_calls,
    reference_compiles=False,
    returns_tensors=False,
)
"""tests/ops/test_masks_to_rle.py compares the results."""
