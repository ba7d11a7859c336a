"""`mask_nms` against pycocotools' IoU in a greedy loop, and against box NMS on masks that are boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst.ops import mask_nms, nms, pack_masks
from condinst.ops.mask_nms.reference import mask_iou
from condinst.ops.mask_nms.spec import Candidates, make_candidates, special_candidates
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("mask_nms"))

CPU = torch.device("cpu")


def coco_iou(masks: Tensor) -> Tensor:
    """[N, N] float64; 0 for two empty masks."""
    encoded = coco_mask.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
    return torch.from_numpy(coco_mask.iou(encoded, encoded, [0] * len(encoded)))


def greedy(candidates: Candidates, threshold: float) -> list[list[int]]:
    """The indices kept of each image, the best first."""
    masks, scores, labels, images = candidates
    iou = coco_iou(masks)
    num_images = int(images.max()) + 1
    kept: list[list[int]] = [[] for _ in range(num_images)]
    valid = [i for i in range(len(scores)) if images[i] >= 0 and not scores[i].isnan()]
    for index in sorted(valid, key=lambda i: (-float(scores[i]), i)):
        of_image = kept[images[index]]
        if not any(labels[k] == labels[index] and iou[k, index] > threshold for k in of_image):
            of_image.append(index)
    return kept


def kept_by(candidates: Candidates, **options: Any) -> list[list[int]]:
    indices, counts = mask_nms(*candidates, **options)
    rows = [row[: int(count)].tolist() for row, count in zip(indices, counts, strict=True)]
    assert all((row[int(count) :] == -1).all() for row, count in zip(indices, counts, strict=True))
    return rows


def test_iou_is_that_of_pycocotools() -> None:
    masks = make_candidates(torch.float32, CPU, 40, (33, 29))[0]
    masks[3], masks[4] = False, True
    iou = mask_iou(pack_masks(masks, backend="reference"))
    assert iou[3, 3].isnan() and (iou[3, :3] == 0).all()
    torch.testing.assert_close(iou.nan_to_num(0).double(), coco_iou(masks), rtol=1e-7, atol=0)


@each_backend
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("num_candidates", "num_labels", "num_images"), [(1, 1, 1), (63, 1, 1), (80, 3, 2)])
def test_greedy_loop(
    backend: str, threshold: float, num_candidates: int, num_labels: int, num_images: int, subtests: pytest.Subtests
) -> None:
    for seed in range(3):
        with subtests.test(f"seed {seed}"):
            candidates = make_candidates(
                torch.float32, CPU, num_candidates, (13, 22), num_labels=num_labels, num_images=num_images, seed=seed
            )
            assert kept_by(candidates, iou_threshold=threshold, backend=backend) == greedy(candidates, threshold)


@each_backend
def test_greedy_loop_with_empty_masks_padding_and_nan(backend: str) -> None:
    candidates = special_candidates(torch.float32, CPU)
    kept = kept_by(candidates, iou_threshold=0.5, backend=backend)
    assert kept == greedy(candidates, 0.5)
    empty = [i for i in range(40) if not candidates[0][i].any() and candidates[3][i] >= 0]
    assert empty and all(i in kept[0] + kept[1] for i in empty)


@each_backend
def test_a_large_group_is_settled_in_rounds(backend: str) -> None:
    candidates = make_candidates(torch.float32, CPU, 270, (9, 12), num_labels=1, num_images=1, num_objects=30)
    kept = kept_by(candidates, iou_threshold=0.6, backend=backend)
    assert 64 < len(kept[0]) < 200  # survivors of several rounds
    assert kept == greedy(candidates, 0.6)


@each_backend
def test_boxes_that_are_masks(backend: str) -> None:
    """Filled rectangles with whole corners overlap as their boxes do."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 20, (100, 2), generator=generator)
    size = torch.randint(1, 14, (100, 2), generator=generator)
    boxes = torch.cat([corner, corner + size], dim=1)
    axis = torch.arange(40)
    rows = (axis >= boxes[:, 1:2]) & (axis < boxes[:, 3:4])
    columns = (axis >= boxes[:, 0:1]) & (axis < boxes[:, 2:3])
    masks = rows[:, :, None] & columns[:, None, :]
    scores = torch.randint(1, 20, (100,), generator=generator) / 20
    labels, images = torch.randint(2, (2, 100), generator=generator)
    options: dict[str, Any] = {"iou_threshold": 0.3, "max_detections": 20, "num_images": 2, "capacity": 25}
    by_masks = mask_nms(masks, scores, labels, images, **options, backend=backend)
    by_boxes = nms(boxes.float(), scores, labels, images, **options, backend="reference")
    assert torch.equal(by_masks.indices, by_boxes.indices)
    assert torch.equal(by_masks.counts, by_boxes.counts)


@each_backend
def test_bool_and_packed_masks_are_the_same(backend: str) -> None:
    masks, *rest = make_candidates(torch.float32, CPU, 50, (13, 22))
    of_bool = mask_nms(masks, *rest, iou_threshold=0.5, num_images=2, backend=backend)
    of_packed = mask_nms(pack_masks(masks), *rest, iou_threshold=0.5, num_images=2, backend=backend)
    assert torch.equal(of_bool.indices, of_packed.indices)


@each_backend
def test_threshold_is_strict(backend: str) -> None:
    """Two masks with an IoU of 1/4 exactly, of 1/10, which no binary fraction is, and two empty ones."""
    masks = torch.zeros(6, 1, 70, dtype=torch.bool)
    masks[0, 0, :2], masks[1, 0, 1:4] = True, True
    masks[2, 0, 10:15], masks[3, 0, 14:20] = True, True
    scores, zeros = torch.arange(6, 0, -1) / 8, torch.zeros(6, dtype=torch.int64)
    tenth = float(np.float32(0.1))

    def kept(threshold: float) -> list[int]:
        return kept_by((masks, scores, zeros, zeros), iou_threshold=threshold, backend=backend)[0]

    assert kept(0.25) == [0, 1, 2, 3, 4, 5]
    assert kept(float(np.nextafter(np.float32(0.25), np.float32(0)))) == [0, 2, 3, 4, 5]
    assert kept(tenth) == kept(0.1) == [0, 2, 3, 4, 5]
    assert kept(float(np.nextafter(np.float32(0.1), np.float32(0)))) == [0, 2, 4, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(3, 2)}, r"masks: expected \[N, W\] int64"),
        ({1: torch.zeros(2)}, "scores, labels, image_indices: expected"),
        ({2: torch.zeros(3)}, "labels, image_indices: expected int64"),
        ({3: torch.tensor([0, 1, 5])}, "image_indices: expected numbers in -1 .. 1, got 5"),
        ({4: -0.5}, "iou_threshold: expected at least 0"),
        ({6: -1}, "num_images, max_detections, capacity: expected at least 0"),
    ],
)
def test_defensive_checks(change: dict[int, Any], message: str) -> None:
    zeros = torch.zeros(3, dtype=torch.int64)
    args: list[Any] = [torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3), zeros, zeros, 0.5, 0, 2, 3]
    for position, value in change.items():
        args[position] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.condinst.mask_nms(*args)
