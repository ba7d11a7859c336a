"""`fcos_targets` and `mask_centers` against loops that follow SPEC 2.1 word by word."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from condinst import ops
from condinst.reference.fcos_targets import FCOSTargets

STRIDES = (8, 16, 32)
SIZES_OF_INTEREST = (64, 128)
RANGES = ((-1.0, 64.0), (64.0, 128.0), (128.0, 1e8))
LEVEL_SIZES = [(16, 20), (8, 10), (4, 5)]


def by_loops(boxes: Tensor, labels: Tensor, centers: Tensor) -> list[tuple[int, list[float], float, int]]:
    """(label, distances in strides, centre-ness, object) of each location of one image."""
    rows = []
    for (height, width), stride, (low, high) in zip(LEVEL_SIZES, STRIDES, RANGES, strict=True):
        for i in range(height):
            for j in range(width):
                x, y = j * stride + stride // 2, i * stride + stride // 2
                best = None
                for g, ((x1, y1, x2, y2), (cx, cy)) in enumerate(zip(boxes.tolist(), centers.tolist(), strict=True)):
                    if math.isnan(cx):
                        continue
                    reach = 1.5 * stride
                    inside = max(cx - reach, x1) < x < min(cx + reach, x2) and max(cy - reach, y1) < y < min(
                        cy + reach, y2
                    )
                    distances = [x - x1, y - y1, x2 - x, y2 - y]
                    area = (x2 - x1) * (y2 - y1)
                    if inside and low <= max(distances) <= high and (best is None or area < best[0]):
                        best = (area, g, distances)
                if best is None:
                    rows.append((9, [0.0] * 4, 0.0, -1))
                else:
                    left, top, right, bottom = (side / stride for side in best[2])
                    ratio = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                    rows.append((int(labels[best[1]]), [left, top, right, bottom], math.sqrt(ratio), best[1]))
    return rows


def make_objects(num_objects: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(num_objects, 2, generator=generator) * 100
    size = torch.rand(num_objects, 2, generator=generator) * 140 + 4
    boxes = torch.cat([corner, corner + size], dim=1).round()
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 + torch.randn(num_objects, 2, generator=generator) * 8
    return boxes, torch.randint(9, (num_objects,), generator=generator), centers


def assign(boxes: Tensor, labels: Tensor, centers: Tensor, images: Tensor, num_images: int) -> FCOSTargets:
    return ops.fcos_targets(
        boxes,
        labels,
        centers,
        images,
        num_images=num_images,
        num_classes=9,
        level_sizes=LEVEL_SIZES,
        strides=STRIDES,
        sizes_of_interest=SIZES_OF_INTEREST,
    )


@pytest.mark.parametrize("seed", range(6))
def test_loops(seed: int) -> None:
    counts = [seed, 0, 7]
    objects = [make_objects(count, 10 * seed + index) for index, count in enumerate(counts)]
    boxes, labels, centers = (torch.cat(parts) for parts in zip(*objects, strict=True))
    images = torch.arange(3).repeat_interleave(torch.tensor(counts))
    targets = assign(boxes, labels, centers, images, num_images=3)
    for image in range(3):
        rows = by_loops(*objects[image])
        assert targets.labels[image].tolist() == [row[0] for row in rows]
        first = sum(counts[:image])
        assert targets.object_indices[image].tolist() == [row[3] + first if row[3] >= 0 else -1 for row in rows]
        torch.testing.assert_close(targets.distances[image], torch.tensor([row[1] for row in rows]))
        torch.testing.assert_close(targets.centerness[image], torch.tensor([row[2] for row in rows]))
    assert (targets.object_indices[2] >= 0).any()


def test_range_ends_belong_to_both_levels() -> None:
    # at (20, 20), a cell of stride 8, and at (24, 24), one of stride 16, the farthest side is exactly 64 away
    box = torch.tensor([[10.0, 10.0, 84.0, 84.0], [10.0, 10.0, 88.0, 88.0]])
    centers = torch.tensor([[20.0, 20.0], [24.0, 24.0]])
    targets = assign(box, torch.tensor([1, 2]), centers, torch.tensor([0, 1]), num_images=2)
    assert targets.labels[0, 2 * 20 + 2] == 1
    assert targets.labels[1, 16 * 20 + 1 * 10 + 1] == 2


def test_empty_mask_matches_nothing_and_disturbs_no_other() -> None:
    masks = torch.zeros(2, 128, 160, dtype=torch.bool)
    masks[1, 40:80, 50:90] = True
    boxes = torch.tensor([[0.0, 0.0, 160.0, 128.0], [50.0, 40.0, 90.0, 80.0]])
    targets = assign(boxes, torch.tensor([3, 4]), ops.mask_centers(masks), torch.tensor([0, 0]), num_images=1)
    alone = assign(boxes[1:], torch.tensor([4]), ops.mask_centers(masks[1:]), torch.tensor([0]), num_images=1)
    assert torch.equal(targets.labels, alone.labels) and (targets.labels == 4).any()


def test_no_objects() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    targets = assign(torch.zeros(0, 4), empty, torch.zeros(0, 2), empty, num_images=2)
    assert (targets.labels == 9).all() and (targets.object_indices == -1).all()


def test_mask_centers() -> None:
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 2, 3:6] = True
    centers = ops.mask_centers(masks)
    assert centers[0].tolist() == [4.0, 2.0]
    assert centers[1].isnan().all()


def test_bad_input() -> None:
    boxes, labels, centers = make_objects(2, 0)
    images = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"centers: expected shape \[2, 2\]"):
        assign(boxes, labels, centers[:1], images, 1)
    with pytest.raises(ValueError, match="level_sizes: expected one per stride"):
        ops.fcos_targets(
            boxes,
            labels,
            centers,
            images,
            num_images=1,
            num_classes=9,
            level_sizes=LEVEL_SIZES[:2],
            strides=STRIDES,
            sizes_of_interest=SIZES_OF_INTEREST,
        )
    with pytest.raises(TypeError, match="masks: expected dtype bool, uint8"):
        ops.mask_centers(torch.zeros(1, 2, 2))
