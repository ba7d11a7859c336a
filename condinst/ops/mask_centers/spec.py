"""How to test and time `condinst.ops.mask_centers`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def _masks(dtype: torch.dtype, device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """Masks of any value if `dtype` is uint8, otherwise bool."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return (values if dtype == torch.uint8 else values > 170).to(device)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def masks(*shape: int) -> Tensor:
        return _masks(dtype, device, *shape)

    with_empty = masks(3, 50, 71)
    with_empty[1] = 0
    full = masks(1, 3, 20000)
    full.fill_(True if dtype != torch.uint8 else 255)
    return [
        Sample("an empty mask", (with_empty,)),
        Sample("one pixel", (masks(4, 1, 1),)),
        Sample("rows as wide as vectors", (masks(2, 30, 128),)),
        Sample("several bands", (masks(2, 150, 1000),)),
        Sample("wide and full", (full,)),
        Sample("high", (masks(2, 999, 3),)),
        Sample("sliced", (masks(4, 40, 70)[1:, ::2, 3:],)),
        Sample("transposed", (masks(3, 20, 30).transpose(1, 2),)),
        Sample("no masks", (masks(0, 20, 30),)),
        Sample("no pixels", (masks(2, 0, 30),)),
        Sample("no columns", (masks(2, 20, 0),)),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    masks = _masks(torch.bool, device, 4, 9, 70)
    # No empty masks, because for opcheck NaN differs from NaN.
    calls = (masks, masks.byte(), masks[1:, ::2], masks.transpose(1, 2), masks[:0])
    return [("mask_centers", (call,)) for call in calls]


def _bad_inputs() -> list[BadInput]:
    masks = torch.ones(2, 3, 4)
    return [
        BadInput("list", ([True],), {}, TypeError, "masks: expected a tensor, got list"),
        BadInput("probabilities", (masks,), {}, TypeError, "masks: expected dtype bool, uint8; got float32"),
        BadInput("one mask", (masks[0].bool(),), {}, ValueError, r"masks: expected 3 dimensions, got shape \[3, 4\]"),
        BadInput("channels", (masks[None].bool(),), {}, ValueError, r"masks: expected 3 dim.*\[1, 2, 3, 4\]"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # the objects of two images of 800 x 1088
    masks = torch.zeros(60, 800, 1088, dtype=torch.bool)
    for index, mask in enumerate(masks):
        mask[10 * index : 10 * index + 150, 12 * index : 12 * index + 200] = True
    return [Sample("60x800x1088", (masks.to(device, dtype),))]


SPEC = OpSpec(
    name="mask_centers",
    dtypes=(torch.bool, torch.uint8),
    tolerances={torch.float32: Tolerance(0, 0, "sums of integers, one division in float64, rounded once")},
    samples=_samples,
    small_samples=lambda device: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
)
