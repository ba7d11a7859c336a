"""How to test and time `condinst.ops.masks_to_image`; `masks_to_rle` uses the same samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.testing.spec import BadInput, OpSpec, Sample


def blobs(num_instances: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Logits [K, h, w] like those of a model: an ellipse with an uneven edge per mask."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    center_y, center_x, radius_y, radius_x = torch.rand(4, num_instances, 1, 1, generator=generator)
    across = (x / width - center_x) / (0.05 + 0.2 * radius_x)
    along = (y / height - center_y) / (0.05 + 0.2 * radius_y)
    coarse = torch.randn(num_instances, 1, height // 8 + 2, width // 8 + 2, generator=generator)
    uneven = F.interpolate(coarse, size=(height, width), mode="bicubic")[:, 0]
    return 4 * (1 - across**2 - along**2) + uneven


def _logits(dtype: torch.dtype, device: torch.device, *shape: int) -> Tensor:
    """Logits without a pixel near the threshold at the sizes below, so that masks are equal; a test checks this."""
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(device, dtype)


def _sizes(stride: int, network: tuple[int, int], output: tuple[int, int], threshold: float = 0.5) -> dict[str, Any]:
    return {"mask_stride": stride, "network_size": network, "output_size": output, "threshold": threshold}


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    logits = _logits(dtype, device, 3, 13, 17)
    not_finite = logits.clone()
    not_finite[0, 5:7, 3] = torch.nan
    not_finite[1] = torch.nan
    not_finite[2, 4] = torch.inf
    not_finite[2, 9] = -torch.inf
    return [
        Sample("network size", (logits,), _sizes(4, (52, 68), (52, 68))),
        Sample("cropped and larger", (logits,), _sizes(4, (49, 66), (73, 101))),
        Sample("smaller", (logits,), _sizes(4, (49, 66), (24, 31))),
        Sample("much smaller", (logits,), _sizes(8, (99, 130), (5, 3))),
        Sample("stride 1", (logits,), _sizes(1, (13, 17), (20, 9))),
        Sample("stride 2", (logits,), _sizes(2, (25, 33), (31, 40))),
        Sample("stride 3", (logits,), _sizes(3, (38, 50), (60, 47))),
        Sample("threshold", (logits,), _sizes(4, (52, 68), (61, 59), 0.3)),
        Sample("not finite", (not_finite,), _sizes(4, (52, 68), (52, 68))),
        Sample("one cell", (logits[:, :1, :1],), _sizes(4, (4, 4), (9, 2))),
        Sample("one row", (logits[:, :1],), _sizes(4, (3, 66), (1, 90))),
        Sample("one column", (logits[..., :1],), _sizes(4, (51, 2), (77, 1))),
        Sample("one pixel", (logits,), _sizes(4, (52, 68), (1, 1))),
        Sample("all set", (logits.abs() + 1,), _sizes(4, (52, 68), (30, 40))),
        Sample("none set", (-logits.abs() - 1,), _sizes(4, (52, 68), (30, 40))),
        Sample("sliced", (logits[1:, ::2, 3:],), _sizes(4, (28, 55), (40, 60))),
        Sample("transposed", (logits.transpose(1, 2),), _sizes(4, (68, 52), (40, 60))),
        Sample("expanded", (logits[:1].expand(4, 13, 17),), _sizes(4, (52, 68), (40, 60))),
        Sample("no masks", (logits[:0],), _sizes(4, (52, 68), (40, 60))),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    logits = _logits(torch.float32, device, 3, 12, 17)
    masks = [logits, logits.half(), logits[1:, ::2], logits.transpose(1, 2), logits[:0]]
    return [("masks_to_image", (m, 4, 20, 40, 31, 29, 0.5)) for m in masks]


def _bad_inputs() -> list[BadInput]:
    logits = torch.rand(2, 3, 4)
    sizes = _sizes(4, (12, 16), (12, 16))
    return [
        BadInput("list", ([[[0.0]]],), sizes, TypeError, "mask_logits: expected a tensor, got list"),
        BadInput("int", (logits.int(),), sizes, TypeError, "mask_logits: expected dtype .*got int32"),
        BadInput("two dimensions", (logits[0],), sizes, ValueError, r"mask_logits: expected 3 dimensions"),
        BadInput("stride", (logits,), sizes | {"mask_stride": 0}, ValueError, "mask_stride: expected at least 1"),
        BadInput("network", (logits,), sizes | {"network_size": (13, 16)}, ValueError, r"network_size: .*\(13, 16\)"),
        BadInput("no output", (logits,), sizes | {"output_size": (0, 16)}, ValueError, r"output_size: .*\(0, 16\)"),
        BadInput("output", (logits,), sizes | {"output_size": (1 << 20, 1 << 20)}, ValueError, r"output_size: .*2\^31"),
        BadInput("threshold", (logits,), sizes | {"threshold": 1.5}, ValueError, "threshold: expected"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    sizes = _sizes(4, (800, 1088), (800, 1088))
    logits = blobs(100, 200, 272)
    return [
        Sample("100x800x1088", (logits.to(device, dtype),), sizes),
        Sample("random logits", (_logits(dtype, device, 100, 200, 272),), sizes),
    ]


SPEC = OpSpec(
    name="masks_to_image",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={},  # masks are equal
    samples=_samples,
    small_samples=lambda _: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
)
