"""How to test and time `condinst.ops.select_top_locations`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample


def grid_logits(dtype: torch.dtype, *shape: int, seed: int) -> Tensor:
    """Multiples of 1/4 in -3 .. 3, so that scores are equal or differ by at least 2e-5, far more than rounding."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(-12, 13, shape, generator=generator) / 4).to(dtype)


def make_objects(batch_size: int, num_locations: int, per_image: int, *, positives: float, seed: int = 0) -> Tensor:
    """Object indices [B, L]: `per_image` objects in each image; a share `positives` of the locations is positive."""
    generator = torch.Generator().manual_seed(seed)
    objects = torch.randint(max(per_image, 1), (batch_size, num_locations), generator=generator)
    objects += per_image * torch.arange(batch_size)[:, None]
    return objects.where(torch.rand(objects.shape, generator=generator) < positives, -1)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def sample(name: str, objects: Tensor, num_classes: int, *, sliced: bool = False, **kwargs: Any) -> Sample:
        batch_size, num_locations = objects.shape
        class_logits = grid_logits(dtype, batch_size, num_locations, num_classes, seed=1).to(device)
        centerness_logits = grid_logits(dtype, batch_size, num_locations, seed=2).to(device)
        objects = objects.to(device)
        kwargs = {"num_objects": 200, **kwargs}  # 200: some objects have no location
        if sliced:
            class_logits = class_logits.transpose(1, 2).contiguous().transpose(1, 2)[1:, ::2]
            centerness_logits, objects = centerness_logits[1:, ::2], objects[1:, ::2]
        return Sample(name, (class_logits, centerness_logits, objects), kwargs)

    return [
        sample("several images", make_objects(3, 301, 7, positives=0.3), 5),
        sample("many classes", make_objects(2, 150, 3, positives=0.9), 80),
        sample("one location", make_objects(1, 1, 1, positives=1.0), 1),
        sample("more objects than max_locations", make_objects(2, 400, 90, positives=0.9), 3),
        sample("few locations", make_objects(2, 200, 9, positives=0.5), 17, max_locations=5),
        sample("one object", make_objects(1, 700, 1, positives=0.95), 33, max_locations=100),
        sample("no positives", make_objects(2, 50, 3, positives=0.0), 4),
        sample("sliced", make_objects(3, 300, 8, positives=0.4), 19, sliced=True),
        sample("no images", make_objects(0, 50, 3, positives=0.5), 4),
        sample("no locations", make_objects(2, 0, 3, positives=0.5), 4),
        sample("no objects", make_objects(2, 60, 0, positives=0.0), 4, num_objects=0),
        sample("all", make_objects(2, 60, 3, positives=0.5), 4, rule="all"),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    logits = grid_logits(torch.float32, 3, 20, 6, seed=1).to(device)
    centerness = grid_logits(torch.float32, 3, 20, seed=2).to(device)
    objects = make_objects(3, 20, 2, positives=0.5).to(device)
    calls = [
        (logits, centerness, objects),
        (logits.half(), centerness, objects),
        (logits[1:, ::2], centerness[1:, ::2], objects[1:, ::2]),
        (logits.transpose(1, 2).contiguous().transpose(1, 2), centerness.t().contiguous().t(), objects),
        (logits[:0], centerness[:0], objects[:0]),
    ]
    return [("select_top_locations", (*call, 6, 8)) for call in calls]


def _bad_inputs() -> list[BadInput]:
    args = (torch.zeros(2, 5, 3), torch.zeros(2, 5), torch.zeros(2, 5, dtype=torch.int64))
    logits, centerness, objects = args

    def bad(name: str, message: str, *changed: Any, error: type[Exception] = ValueError, **changes: Any) -> BadInput:
        return BadInput(name, (*changed, *args[len(changed) :]), {"num_objects": 1, **changes}, error, message)

    return [
        bad("int logits", "class_logits: expected dtype .*got int64", logits.long(), error=TypeError),
        bad("dimensions", r"class_logits: expected 3 dimensions, got shape \[2, 5\]", logits[..., 0]),
        bad("no classes", "class_logits: expected at least one class", logits[..., :0]),
        bad("centre-ness", r"centerness_logits: expected shape \[2, 5\], got \[2, 4\]", logits, centerness[:, :4]),
        bad("device", "centerness_logits: expected the device .*got meta", logits, centerness.to("meta")),
        bad("int32 objects", "object_indices: .*got int32", logits, centerness, objects.int(), error=TypeError),
        bad("object", "object_indices: expected numbers in -1 .. 0, got 1", logits, centerness, objects + 1),
        bad("background", "object_indices: expected numbers in -1 .. 0, got -2", logits, centerness, objects - 2),
        bad("negative", "num_objects: expected at least 0, got -1", num_objects=-1),
        bad("max_locations", "max_locations: expected at least 1, got 0", max_locations=0),
        bad("rule", "rule: expected one of top, random, all; got 'best'", rule="best"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # five levels of 800 x 1088 images, 60 objects in each, 1000 positives in each
    def sample(batch_size: int) -> Sample:
        objects = make_objects(batch_size, 18134, 60, positives=1000 / 18134).to(device)
        class_logits = grid_logits(dtype, batch_size, 18134, 80, seed=1).to(device)
        centerness_logits = grid_logits(dtype, batch_size, 18134, seed=2).to(device)
        return Sample(
            f"{batch_size}x18134", (class_logits, centerness_logits, objects), {"num_objects": 60 * batch_size}
        )

    return [sample(2), sample(8)]


SPEC = OpSpec(
    name="select_top_locations",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={},  # the result is a choice; samples have scores that are equal or far apart
    samples=_samples,
    small_samples=lambda device: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
