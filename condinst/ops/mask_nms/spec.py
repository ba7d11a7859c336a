"""How to test and time `condinst.ops.mask_nms`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.ops.pack_masks.reference import pack_masks
from condinst.testing.spec import BadInput, OpSpec, Sample

Candidates = tuple[Tensor, Tensor, Tensor, Tensor]


def make_candidates(
    dtype: torch.dtype,
    device: torch.device,
    num_candidates: int,
    size: tuple[int, int],
    *,
    num_labels: int = 3,
    num_images: int = 2,
    num_objects: int = 8,
    seed: int = 0,
) -> Candidates:
    """Ellipses around a few centres, some of them cut off or empty: bool masks, scores, labels, image indices.

    Scores are multiples of 1/64 in 1/64..1, which every dtype represents exactly, with many ties.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    height, width = size
    extent = torch.tensor([height, width], dtype=torch.float64)  # [2]
    objects = torch.randint(num_objects, (num_candidates,), generator=generator)  # [N]
    centers = rand(num_objects, 2)[objects] + (rand(num_candidates, 2) - 0.5) / 8  # [N, 2] in shares of the size
    radii = 0.02 + rand(num_objects, 2)[objects] / 4 * (0.75 + rand(num_candidates, 2) / 2)  # [N, 2]
    centers, radii = centers * extent, radii * extent
    rows = torch.arange(height) + 0.5 - centers[:, :1]  # [N, H]
    columns = torch.arange(width) + 0.5 - centers[:, 1:]  # [N, W]
    masks = (rows / radii[:, :1])[:, :, None] ** 2 + (columns / radii[:, 1:])[:, None, :] ** 2 < 1  # [N, H, W]
    scores = torch.randint(1, 65, (num_candidates,), generator=generator) / 64  # [N]
    labels = torch.randint(num_labels, (num_candidates,), generator=generator) * 7 - 5  # [N], any numbers
    images = torch.randint(num_images, (num_candidates,), generator=generator)  # [N]
    return masks.to(device), scores.to(device, dtype), labels.to(device), images.to(device)


def special_candidates(dtype: torch.dtype, device: torch.device) -> Candidates:
    """Ordinary candidates mixed with empty masks, duplicates, padding and scores of NaN."""
    masks, scores, labels, images = make_candidates(dtype, device, 40, (9, 31), num_labels=2)
    masks[5:40:10] = False
    masks[6], masks[7], masks[8] = masks[9], masks[9], masks[9]
    labels[5:10] = labels[9]
    scores[[4, 17]] = torch.nan
    images[[2, 17, 30]] = -1
    return masks, scores, labels, images


def packed(candidates: Candidates) -> Candidates:
    """The same candidates with packed masks, the only form that the reference and the kernels take."""
    masks, scores, labels, images = candidates
    return pack_masks(masks), scores, labels, images


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def candidates(num_candidates: int, height: int, width: int, **options: int) -> Candidates:
        return packed(make_candidates(dtype, device, num_candidates, (height, width), **options))

    common = {"iou_threshold": 0.5, "num_images": 2}
    inputs = candidates(40, 21, 37)
    masks, scores, labels, images = inputs
    one_class = candidates(260, 7, 11, num_labels=1, num_images=1)  # more than one round and tile
    nothing = (masks[:0], scores[:0], labels[:0], images[:0])
    return [
        Sample("labels and images", inputs, common),
        Sample("the best", inputs, {**common, "max_detections": 3}),
        Sample("the best and ties", inputs, {**common, "max_detections": 3, "capacity": 6}),
        *([Sample("one class", one_class, {"iou_threshold": 0.4, "num_images": 1})] if dtype == torch.float32 else []),
        Sample("special masks and scores", packed(special_candidates(dtype, device)), common),
        Sample("threshold 0", inputs, {**common, "iou_threshold": 0.0}),
        Sample("threshold 1", inputs, {**common, "iou_threshold": 1.0}),
        Sample("images counted", inputs, {"iou_threshold": 0.5}),
        Sample("more images", inputs, {**common, "num_images": 5}),
        Sample("below a word", candidates(30, 5, 7), common),
        Sample("many words", candidates(12, 70, 130), common),  # more than the lanes of a warp
        Sample("sliced", (masks[1:, ::2], scores[1:], labels[1:], images[1:]), common),
        Sample("every second", tuple(tensor[::2] for tensor in inputs), common),
        Sample("transposed", (masks.T.contiguous().T, scores, labels, images), common),
        Sample("no pixels", (masks[:, :0], scores, labels, images), common),
        Sample("no masks", nothing, common),
        Sample("no masks, the best", nothing, {**common, "max_detections": 3}),
        Sample("no images", nothing, {**common, "num_images": 0}),
        Sample("padding alone", (masks, scores, labels, images * 0 - 1), common),
    ]


def native_candidates(device: torch.device) -> list[Candidates]:
    """Packed masks of several layouts, for opcheck."""
    masks, scores, labels, images = packed(make_candidates(torch.float32, device, 20, (9, 31)))
    return [
        (masks, scores, labels, images),
        (masks, scores.half(), labels, images),
        (masks[1:, ::2], scores[1:], labels[1:], images[1:]),
        (masks.T.contiguous().T, scores, labels, images),
        (masks[:0], scores[:0], labels[:0], images[:0]),
        (masks[:, :0], scores, labels, images),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    return [("mask_nms", (*candidates, 0.5, 4, 2, 6)) for candidates in native_candidates(device)]


def bad_candidates(**options: Any) -> list[BadInput]:
    """Arguments for which `mask_nms` and `matrix_nms` raise the same error."""
    masks, scores = torch.ones(3, 4, 5, dtype=torch.bool), torch.rand(3)
    zeros = torch.zeros(3, dtype=torch.int64)
    rest = (scores, zeros, zeros)
    words = torch.zeros(3, 1, 1, dtype=torch.int64)
    return [
        BadInput("list", ([True], *rest), options, TypeError, "masks: expected a tensor, got list"),
        BadInput("floating masks", (masks.float(), *rest), options, TypeError, "masks: expected dtype .*got float32"),
        BadInput("flat masks", (masks[0], *rest), options, ValueError, "masks: expected 3 dimensions"),
        BadInput("packed masks", (words, *rest), options, ValueError, "masks: expected 2 dimensions"),
        BadInput("int scores", (masks, zeros, zeros, zeros), options, TypeError, "scores: expected dtype .*got int64"),
        BadInput("fewer scores", (masks, scores[:2], zeros, zeros), options, ValueError, r"scores: .*\[3\], got \[2\]"),
        BadInput("labels", (masks, scores, zeros.int(), zeros), options, TypeError, "labels: .*got int32"),
        BadInput("images", (masks, scores, zeros, scores), options, TypeError, "image_indices: .*got float32"),
        BadInput("device", (masks, scores, zeros.to("meta"), zeros), options, ValueError, "labels: .*got meta"),
    ]


def _bad_inputs() -> list[BadInput]:
    masks, scores = torch.ones(3, 4, 5, dtype=torch.bool), torch.rand(3)
    zeros = torch.zeros(3, dtype=torch.int64)
    candidates = (masks, scores, zeros, zeros)
    common = {"iou_threshold": 0.5, "num_images": 1}
    foreign = (masks, scores, zeros, zeros + 1)
    return [
        *bad_candidates(**common),
        BadInput("threshold", candidates, {"iou_threshold": 1.5}, ValueError, r"iou_threshold: .*0\.\.1, got 1.5"),
        BadInput("NaN", candidates, {"iou_threshold": torch.nan}, ValueError, "iou_threshold: .*got nan"),
        BadInput("image 1 of 1", foreign, common, ValueError, "image_indices: expected numbers in -1 .. 0, got 1"),
        BadInput("image -2", (masks, scores, zeros, zeros - 2), common, ValueError, "image_indices: .*got -2"),
        BadInput(
            "few columns", candidates, {**common, "max_detections": 3, "capacity": 2}, ValueError, "capacity: .*3"
        ),
        BadInput("negative", candidates, {**common, "max_detections": -1}, ValueError, "max_detections: .*got -1"),
    ]


def benchmark_candidates(dtype: torch.dtype, device: torch.device) -> dict[str, Candidates]:
    """The candidates that the detector passes to a mask NMS, at a quarter of an image of 800 x 1088."""

    def candidates(num_candidates: int, num_labels: int) -> Candidates:
        options = {"num_labels": num_labels, "num_images": 1, "num_objects": 60}
        return packed(make_candidates(dtype, device, num_candidates, (200, 272), **options))

    return {"1000, 80 classes": candidates(1000, 80), "1000, 1 class": candidates(1000, 1)}


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    options = {"iou_threshold": 0.5, "max_detections": 100, "num_images": 1}
    return [Sample(name, args, options) for name, args in benchmark_candidates(dtype, device).items()]


SPEC = OpSpec(
    name="mask_nms",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={},  # indices are equal
    samples=_samples,
    small_samples=lambda _: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
