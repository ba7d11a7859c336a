"""How to test and time `condinst.ops.fcos_targets`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance

PYRAMID: dict[str, Any] = {
    "num_classes": 9,
    "level_sizes": [(13, 17), (7, 9), (4, 5)],
    "strides": (8, 16, 32),
    "sizes_of_interest": (32, 64),
}
"""A small pyramid of odd sizes."""

Objects = tuple[Tensor, Tensor, Tensor, Tensor]


def make_objects(num_objects: int, num_images: int, *, seed: int = 0, extent: int = 140) -> Objects:
    """Boxes [G, 4], labels [G], centres [G, 2] and image indices [G] as the operator takes them, images in any order.

    All corners and half of the centres are on whole pixels, as cells are, so that locations lie on the borders of boxes
    and windows, and boxes have equal areas.
    """
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    corners = integers(-20, extent - 20, num_objects, 2)
    boxes = torch.cat([corners, corners + 4 * integers(1, extent // 4, num_objects, 2)], dim=1).float()
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 + integers(-8, 9, num_objects, 2)
    centers[::2] += torch.randn(centers[::2].shape, generator=generator)
    return boxes, integers(0, 9, num_objects), centers, integers(0, num_images, num_objects)


def _odd_objects() -> Objects:
    """Objects that match no location, and objects that do, all around the middle of the image."""
    nan, inf = torch.nan, torch.inf
    boxes = torch.tensor(
        [
            [40.0, 30.0, 90.0, 80.0],
            [nan, 30.0, 90.0, 80.0],
            [40.0, 30.0, 90.0, nan],
            [90.0, 30.0, 40.0, 80.0],  # inverted
            [90.0, 80.0, 40.0, 30.0],  # inverted both ways: the area is positive
            [64.0, 30.0, 64.0, 80.0],  # without area
            [-inf, 30.0, 90.0, 80.0],
            [-inf, -inf, inf, inf],
            [-3e38, -3e38, 3e38, 3e38],  # the area is infinite
            [44.0, 34.0, 94.0, 84.0],  # as large as the first
            [40.0, 30.0, 90.0, 80.0],
            [40.0, 30.0, 90.0, 80.0],
            [50.0, 40.0, 80.0, 75.0],
        ]
    )
    centers = torch.full((len(boxes), 2), 62.0)
    centers[10] = torch.tensor([nan, nan])  # an empty mask
    centers[11] = torch.tensor([62.0, inf])
    centers[12] = torch.tensor([52.0, -20.0])  # outside of its box
    return boxes, torch.arange(len(boxes)) % 9, centers, torch.zeros(len(boxes), dtype=torch.int64)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def sample(name: str, objects: Objects, num_images: int, *, with_centers: bool = True, **changes: Any) -> Sample:
        boxes, labels, centers, image_indices = (tensor.to(device) for tensor in objects)
        args = (boxes.to(dtype), labels, centers.to(dtype) if with_centers else None, image_indices)
        return Sample(name, args, {**PYRAMID, "num_images": num_images, **changes})

    def sliced(objects: Objects) -> Objects:
        boxes, labels, centers, image_indices = objects
        return boxes.t().contiguous().t()[1::2], labels[1::2], centers.flip(1)[1::2], image_indices[1::2]

    one_level: dict[str, Any] = {"level_sizes": [(11, 1)], "strides": (8,), "sizes_of_interest": ()}
    return [
        sample("mass centres", make_objects(30, 3), 3),
        sample("box centres", make_objects(30, 3, seed=1), 3, with_centers=False),
        sample("odd objects", _odd_objects(), 1),
        sample("odd objects, box centres", _odd_objects(), 2, with_centers=False),
        sample("one level", make_objects(5, 1, seed=2), 1, **one_level),
        sample("sliced", sliced(make_objects(20, 2, seed=3)), 2),
        sample("large radius", make_objects(8, 1, seed=4), 1, radius=100.0),
        sample("odd radius", make_objects(8, 2, seed=5), 2, radius=0.7),
        sample("more objects than locations", make_objects(300, 1, seed=6, extent=60), 1, **one_level),
        sample("no objects", make_objects(0, 1), 2),
        sample("an empty level", make_objects(9, 1, seed=7), 1, level_sizes=[(13, 17), (0, 9), (4, 5)]),
        sample("no locations", make_objects(3, 1), 1, level_sizes=[(0, 0)] * 3),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    boxes, labels, centers, images = (tensor.to(device) for tensor in make_objects(6, 2))
    options = (2, 9, [5, 7, 3, 4], [8, 16], [64], 1.5)
    calls = [
        (boxes, labels, centers, images),
        (boxes, labels, None, images),
        (boxes[::2], labels[::2], centers[::2], images[::2]),
        (boxes.t().contiguous().t(), labels, centers.flip(0), images),
        (boxes[:0], labels[:0], centers[:0], images[:0]),
    ]
    return [("fcos_targets", (*call, *options)) for call in calls]


def _bad_inputs() -> list[BadInput]:
    boxes, labels, centers, images = make_objects(2, 1)
    args = (boxes, labels, centers, images)
    kwargs = {**PYRAMID, "num_images": 1}

    def bad(name: str, message: str, *changed: Any, error: type[Exception] = ValueError, **changes: Any) -> BadInput:
        return BadInput(name, (*changed, *args[len(changed) :]), {**kwargs, **changes}, error, message)

    return [
        bad("int boxes", "boxes: expected dtype .*got int64", boxes.long(), error=TypeError),
        bad("boxes of 5", r"boxes: expected shape \[2, 4\], got \[2, 5\]", torch.zeros(2, 5)),
        bad("int32 labels", "labels: expected dtype int64; got int32", boxes, labels.int(), error=TypeError),
        bad("label", "labels: expected numbers in 0 .. 8, got 9", boxes, torch.tensor([0, 9])),
        bad("labels shape", r"labels: expected shape \[2\], got \[1\]", boxes, labels[:1]),
        bad("labels device", "labels: expected the device .*got meta", boxes, labels.to("meta")),
        bad("centers shape", r"centers: expected shape \[2, 2\], got \[1, 2\]", boxes, labels, centers[:1]),
        bad("int centers", "centers: expected dtype", boxes, labels, centers.long(), error=TypeError),
        bad("image", "image_indices: .*0 .. 0, got -1", boxes, labels, centers, torch.tensor([0, -1])),
        bad("levels", r"level_sizes: expected one per stride \(3\), got 2", level_sizes=[(2, 2)] * 2),
        bad("negative level", "level_sizes: expected .*at least 0", level_sizes=[(2, -2)] * 3),
        bad("stride", "strides: expected at least 1", strides=(8, 0, 32)),
        bad("sizes", r"sizes_of_interest: expected one less than strides \(3\), got 1", sizes_of_interest=(32,)),
        bad("radius", "radius: expected a positive finite number, got 0", radius=0),
        bad("no images", "num_images: expected at least 1, got 0", num_images=0),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # five levels of an 800 x 1088 image, as in training
    kwargs = {
        "num_classes": 80,
        "level_sizes": [(100, 136), (50, 68), (25, 34), (13, 17), (7, 9)],
        "strides": (8, 16, 32, 64, 128),
        "sizes_of_interest": (64, 128, 256, 512),
    }
    samples = []
    for num_images, per_image in ((2, 30), (8, 60)):
        boxes, labels, centers, images = make_objects(num_images * per_image, num_images, extent=800)
        args = (boxes.to(device, dtype), labels.to(device), centers.to(device, dtype), images.to(device))
        samples.append(Sample(f"{num_images}x{per_image}", args, {**kwargs, "num_images": num_images}))
    return samples


_EXACT = "the same operations in the same order, each rounded to float32"

SPEC = OpSpec(
    name="fcos_targets",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={torch.float32: Tolerance(0, 0, _EXACT)},
    samples=_samples,
    small_samples=lambda device: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
