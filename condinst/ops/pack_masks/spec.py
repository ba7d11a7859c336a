"""How to test and time `condinst.ops.pack_masks`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample


def _values(dtype: torch.dtype, device: torch.device, *shape: int) -> Tensor:
    """Multiples of 1/64 in -2..2, which every dtype represents exactly; many are equal to the thresholds."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-128, 129, shape, generator=generator, dtype=torch.float64) / 64
    return values.to(device, dtype)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    values = _values(dtype, device, 3, 37, 41)  # 24 words, the last with 45 pixels
    special = _values(dtype, device, 1, 3, 67)
    special[0, 1, ::5] = torch.nan
    special[0, 1, 1::5] = torch.inf
    special[0, 1, 2::5] = -torch.inf
    return [
        Sample("floating", (values,)),
        Sample("bool", (values > 0.25,)),
        Sample("uint8", ((values.double() * 64).to(torch.int32).remainder(7).to(torch.uint8),)),
        Sample("logits", (values,), {"threshold": 0.0}),
        Sample("negative threshold", (values,), {"threshold": -1.25}),
        # No dtype represents 0.1 exactly, and PyTorch rounds it to the dtype of the masks.
        Sample("rounded threshold", (torch.full((1, 5, 30), 0.1, dtype=dtype, device=device),), {"threshold": 0.1}),
        Sample("threshold beyond half precision", (special,), {"threshold": 1e6}),
        Sample("not finite", (special,)),
        Sample("one pixel", (values[:, :1, :1],)),
        Sample("below a word", (values[:, :7, :9],)),
        Sample("one word", (values[:, :8, :8],)),
        Sample("whole words", (values[:2, :32, :32],)),
        Sample("sliced", (values[1:, ::2, 3:],)),
        Sample("transposed", (values.transpose(1, 2),)),
        Sample("expanded bool", ((values[:1] > 0).expand(4, 37, 41),)),
        Sample("no pixels", (values[:, :0],)),
        Sample("no masks", (values[:0],)),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    values = _values(torch.float32, device, 3, 12, 17)
    masks = [values, values.half(), values > 0, values[1:, ::2], values.transpose(1, 2), values[:0], values[:, :0]]
    return [("pack_masks", (m, 0.5)) for m in masks]


def _bad_inputs() -> list[BadInput]:
    masks = torch.rand(2, 3, 4)
    return [
        BadInput("list", ([[[True]]],), {}, TypeError, "masks: expected a tensor, got list"),
        BadInput("int masks", (masks.int(),), {}, TypeError, "masks: expected dtype .*got int32"),
        BadInput("two dimensions", (masks[0],), {}, ValueError, r"masks: expected 3 dimensions, got shape \[3, 4\]"),
        BadInput("sparse", (masks.to_sparse(),), {}, ValueError, "masks: expected a dense tensor"),
        BadInput("NaN", (masks,), {"threshold": torch.nan}, ValueError, "threshold: expected a finite .*got nan"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # the candidates of an image of 800 x 1088, at a quarter of its size
    values = _values(dtype, device, 1000, 200, 272)
    samples = [Sample("1000x200x272", (values,))]
    return [*samples, Sample("bool", (values > 0.5,))] if dtype == torch.float32 else samples


SPEC = OpSpec(
    name="pack_masks",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={},  # bits are equal
    samples=_samples,
    small_samples=lambda _: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
)
