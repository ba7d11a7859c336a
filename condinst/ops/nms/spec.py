"""How to test and time `condinst.ops.nms`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def nms_inputs(
    dtype: torch.dtype,
    device: torch.device,
    num_boxes: int,
    *,
    num_classes: int = 3,
    num_images: int = 2,
    extent: float = 60.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes [N, 4] around 0, scores [N] with many ties, labels [N], image indices [N]."""
    generator = torch.Generator().manual_seed(seed)
    corner = (torch.rand(num_boxes, 2, generator=generator) - 0.5) * extent
    size = torch.rand(num_boxes, 2, generator=generator) * 40
    scores = torch.randint(64, (num_boxes,), generator=generator) / 64
    labels = torch.randint(num_classes, (num_boxes,), generator=generator)
    images = torch.randint(num_images, (num_boxes,), generator=generator)
    boxes = torch.cat([corner, corner + size], dim=1)
    return boxes.to(device, dtype), scores.to(device, dtype), labels.to(device), images.to(device)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def inputs(num_boxes: int, **options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return nms_inputs(dtype, device, num_boxes, **options)

    half = {"iou_threshold": 0.5, "num_images": 2}
    boxes, scores, labels, images = inputs(150)
    strange = boxes.clone()
    strange[::7, 2:] = strange[::7, :2]  # no area
    strange[1::7] = strange[1::7].flip(1)  # inverted
    strange[2::7, 1] = float("nan")
    strange[3::7] = float("inf")
    strange[4::7] *= torch.finfo(dtype).max / 64  # areas of infinity
    nan_scores = scores.clone()
    nan_scores[::3] = float("nan")
    nan_scores[1::9] = -float("inf")
    padded = images.clone()
    padded[::4] = -1
    far_labels = labels * (2**62 - 1) - 2**62
    pairs = inputs(256)
    return [
        Sample("one box", inputs(1), half),
        Sample("150 boxes", (boxes, scores, labels, images), half),
        Sample("one group", inputs(200, num_classes=1, num_images=1), {"iou_threshold": 0.25, "num_images": 1}),
        Sample("runs to merge", inputs(600, num_classes=9), half),
        Sample("threshold 0", (boxes, scores, labels, images), {"iou_threshold": 0, "num_images": 2}),
        Sample("threshold 1", (boxes, scores, labels, images), {"iou_threshold": 1.0, "num_images": 2}),
        Sample("best 5", (boxes, scores, labels, images), {**half, "max_detections": 5}),
        Sample("best 5 and ties", (boxes, scores, labels, images), {**half, "max_detections": 5, "capacity": 9}),
        Sample("all tie", (boxes, scores * 0, labels, images), {**half, "max_detections": 3, "capacity": 40}),
        Sample("more columns than boxes", inputs(5), {**half, "capacity": 300}),
        Sample("strange boxes", (strange, scores, labels, images), half),
        Sample("NaN and infinite scores", (boxes, nan_scores, labels, images), half),
        Sample("negative scores, zeros of both signs", (boxes, scores.neg() * (scores > 0.5), labels, images), half),
        Sample("padding", (boxes, scores, labels, padded), half),
        Sample("padding alone", (boxes, scores, labels, padded * 0 - 1), half),
        Sample("images without boxes", (boxes, scores, labels, images * 3), {"iou_threshold": 0.5, "num_images": 6}),
        Sample("labels far apart", (boxes, scores, far_labels, images), half),
        Sample("images are counted", (boxes, scores, labels, images), {"iou_threshold": 0.5}),
        Sample("sliced", tuple(arg[::2] for arg in pairs), half),
        Sample("transposed", (boxes.T.contiguous().T, scores, labels, images), half),
        Sample("no boxes", inputs(0), half),
        Sample("no boxes, columns", inputs(0), {**half, "max_detections": 4}),
        Sample("no images", inputs(0), {"iou_threshold": 0.5, "num_images": 0}),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    inputs = nms_inputs(torch.float32, device, 40)
    boxes, scores, labels, images = inputs
    calls: list[tuple[Any, ...]] = [
        (*inputs, 0.5, 0, 2, 40),
        (boxes.half(), scores.half(), labels, images, 0.5, 3, 2, 5),
        (*(arg[::2] for arg in inputs), 0.5, 3, 2, 3),
        (boxes.T.contiguous().T, scores, labels, images, 0.5, 0, 2, 40),
        (*(arg[:0] for arg in inputs), 0.5, 0, 2, 0),
    ]
    return [("nms", call) for call in calls]


def _bad_inputs() -> list[BadInput]:
    boxes, scores, labels, images = four = nms_inputs(torch.float32, torch.device("cpu"), 3)
    half = {"iou_threshold": 0.5}
    return [
        BadInput("list", ([0.5], *four[1:]), half, TypeError, "boxes: expected a tensor, got list"),
        BadInput("int boxes", (boxes.int(), *four[1:]), half, TypeError, "boxes: expected dtype .*got int32"),
        BadInput("three corners", (boxes[:, :3], *four[1:]), half, ValueError, r"boxes: expected shape \[3, 4\]"),
        BadInput("scores", (boxes, scores[:2], labels, images), half, ValueError, r"scores: .*\[3\], got \[2\]"),
        BadInput("float labels", (boxes, scores, labels.float(), images), half, TypeError, "labels: .*dtype int64"),
        BadInput("device", (boxes, scores, labels.to("meta"), images), half, ValueError, "labels: expected the device"),
        BadInput("threshold", four, {"iou_threshold": 1.5}, ValueError, "iou_threshold: .*0..1, got 1.5"),
        BadInput("NaN threshold", four, {"iou_threshold": float("nan")}, ValueError, "iou_threshold: .*got nan"),
        BadInput("max", four, {**half, "max_detections": -1}, ValueError, "max_detections: expected at least 0"),
        BadInput("capacity", four, {**half, "max_detections": 3, "capacity": 2}, ValueError, "capacity: .*at least 3"),
        BadInput(
            "image", (boxes, scores, labels, images + 5), {**half, "num_images": 2}, ValueError, "image_indices: "
        ),
        BadInput("image -2", (boxes, scores, labels, images * 0 - 2), {**half, "num_images": 2}, ValueError, "got -2"),
        BadInput("backend", four, {**half, "backend": "gpu"}, ValueError, "backend: expected .*got 'gpu'"),
        BadInput("declined", four, {**half, "backend": "triton"}, ValueError, "not made in Triton"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def sample(name: str, num_boxes: int, num_classes: int, **options: Any) -> Sample:
        args = nms_inputs(dtype, device, num_boxes, num_classes=num_classes, extent=1000.0, **options)
        return Sample(name, args, {"iou_threshold": 0.6, "num_images": options["num_images"]})

    return [
        sample("3000 boxes, 80 classes", 3000, 80, num_images=1),
        sample("3000 boxes, 1 class", 3000, 1, num_images=1),
        sample("8 x 3000 boxes, 80 classes", 24000, 80, num_images=8),
    ]


SPEC = OpSpec(
    name="nms",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={torch.int64: Tolerance(0, 0, "indices and counts are those of the reference")},
    samples=_samples,
    small_samples=lambda device: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
