"""How to test and time `condinst.ops.resize_image`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample


def _image(device: torch.device, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8).to(device)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    image = _image(device, 3, 37, 83)
    extremes = image.clone()
    extremes[:, ::2] = 255
    extremes[:, 1::4] = 0
    return [
        Sample("smaller", (image, (20, 45))),
        Sample("larger", (image, (90, 131))),
        Sample("smaller and larger", (image, (19, 200))),
        Sample("larger and smaller", (image, (200, 19))),
        Sample("same size", (image, (37, 83))),
        Sample("same width", (image, (50, 83))),
        Sample("same height", (image, (37, 90))),
        Sample("one off", (image, (38, 82))),
        Sample("to one pixel", (image, (1, 1))),
        Sample("from one pixel", (image[:, :1, :1], (7, 40))),
        Sample("one row", (image[:, :1], (5, 41))),
        Sample("one column", (image[:, :, :1], (41, 5))),
        Sample("black and white", (extremes, (50, 50))),
        Sample("one channel", (image[:1], (30, 60))),
        Sample("sliced", (image[:, ::2, 3:], (33, 33))),
        Sample("channels last", (image.permute(1, 2, 0).contiguous().permute(2, 0, 1), (33, 33))),
        Sample("list", (image, [40, 40])),
        Sample("no channels", (image[:0], (5, 5))),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    image = _image(device, 3, 12, 17)
    images = [image, image[:, ::2, 1:], image.transpose(1, 2), image[:0]]
    return [("resize_image", (each, *size)) for each in images for size in ((9, 21), tuple(each.shape[1:]))]


def _bad_inputs() -> list[BadInput]:
    image = _image(torch.device("cpu"), 3, 4, 5)
    return [
        BadInput("list", ([[[1]]], (2, 2)), {}, TypeError, "image: expected a tensor, got list"),
        BadInput("float", (image.float(), (2, 2)), {}, TypeError, "image: expected dtype uint8; got float32"),
        BadInput("two dimensions", (image[0], (2, 2)), {}, ValueError, r"image: expected 3 dimensions, got .*\[4, 5\]"),
        BadInput("no rows", (image[:, :0], (2, 2)), {}, ValueError, r"image: expected \(height, width\) of at least 1"),
        BadInput("no pixels", (image, (0, 2)), {}, ValueError, r"size: expected \(height, width\) of at least 1"),
        BadInput("one number", (image, (2,)), {}, ValueError, r"size: expected \(height, width\), got 1 numbers"),
        BadInput("a fraction", (image, (2.5, 2)), {}, TypeError, "size: expected two integers, got float"),
        BadInput("huge", (image, (1 << 20, 1 << 20)), {}, ValueError, r"size: expected less than 2\^31 pixels"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    return [
        Sample("photo of a phone, 3024 x 4032", (_image(device, 3, 3024, 4032), (800, 1067))),
        Sample("COCO photo, 480 x 640", (_image(device, 3, 480, 640), (800, 1067))),
    ]


SPEC = OpSpec(
    name="resize_image",
    dtypes=(torch.uint8,),
    tolerances={},  # bits are equal
    samples=_samples,
    small_samples=lambda _: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
)
