"""`fcos_targets` against loops that follow numerics 2.1 word by word, and against the reference bit by bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from condinst import ops
from condinst.backends.native import PATH
from condinst.ops import FCOSTargets
from condinst.ops.fcos_targets.spec import make_objects as objects_of_any_image
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("fcos_targets"))

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


def assign(
    boxes: Tensor, labels: Tensor, centers: Tensor, images: Tensor, num_images: int, backend: str
) -> FCOSTargets:
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
        backend=backend,
    )


@each_backend
@pytest.mark.parametrize("seed", range(6))
def test_loops(seed: int, backend: str) -> None:
    counts = [seed, 0, 7]
    objects = [make_objects(count, 10 * seed + index) for index, count in enumerate(counts)]
    boxes, labels, centers = (torch.cat(parts) for parts in zip(*objects, strict=True))
    images = torch.arange(3).repeat_interleave(torch.tensor(counts))
    targets = assign(boxes, labels, centers, images, 3, backend)
    for image in range(3):
        rows = by_loops(*objects[image])
        assert targets.labels[image].tolist() == [row[0] for row in rows]
        first = sum(counts[:image])
        assert targets.object_indices[image].tolist() == [row[3] + first if row[3] >= 0 else -1 for row in rows]
        torch.testing.assert_close(targets.distances[image], torch.tensor([row[1] for row in rows]))
        torch.testing.assert_close(targets.centerness[image], torch.tensor([row[2] for row in rows]))
    assert (targets.object_indices[2] >= 0).any()


@each_backend
def test_range_ends_belong_to_both_levels(backend: str) -> None:
    # at (20, 20), a cell of stride 8, and at (24, 24), one of stride 16, the farthest side is exactly 64 away
    box = torch.tensor([[10.0, 10.0, 84.0, 84.0], [10.0, 10.0, 88.0, 88.0]])
    centers = torch.tensor([[20.0, 20.0], [24.0, 24.0]])
    targets = assign(box, torch.tensor([1, 2]), centers, torch.tensor([0, 1]), 2, backend)
    assert targets.labels[0, 2 * 20 + 2] == 1
    assert targets.labels[1, 16 * 20 + 1 * 10 + 1] == 2


@each_backend
def test_empty_mask_matches_nothing_and_disturbs_no_other(backend: str) -> None:
    masks = torch.zeros(2, 128, 160, dtype=torch.bool)
    masks[1, 40:80, 50:90] = True
    boxes = torch.tensor([[0.0, 0.0, 160.0, 128.0], [50.0, 40.0, 90.0, 80.0]])
    targets = assign(boxes, torch.tensor([3, 4]), ops.mask_centers(masks), torch.tensor([0, 0]), 1, backend)
    alone = assign(boxes[1:], torch.tensor([4]), ops.mask_centers(masks[1:]), torch.tensor([0]), 1, backend)
    assert torch.equal(targets.labels, alone.labels) and (targets.labels == 4).any()


@each_backend
def test_no_objects(backend: str) -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    targets = assign(torch.zeros(0, 4), empty, torch.zeros(0, 2), empty, 2, backend)
    assert (targets.labels == 9).all() and (targets.object_indices == -1).all()


@pytest.mark.parametrize("backend", cpu_backends_of("fcos_targets", without="reference"))
def test_random_ragged_batches_are_identical_to_the_reference(backend: str) -> None:
    """Odd sizes, ties, objects on borders, empty masks, images without objects, in any order."""
    num_batches = 20 if backend == "triton" else 1000  # a program of the interpreter takes milliseconds
    positives = 0
    for seed in range(num_batches):
        generator = torch.Generator().manual_seed(seed)
        num_objects, num_images, height, width = (
            int(torch.randint(low, high, (), generator=generator)) for low, high in ((0, 41), (1, 5), (1, 14), (1, 18))
        )
        boxes, labels, centers, images = objects_of_any_image(num_objects, num_images, seed=seed, extent=90)
        centers[torch.rand(num_objects, generator=generator) < 0.1] = math.nan
        args = (boxes, labels, None if seed % 3 == 0 else centers, images)
        options: dict[str, Any] = {
            "num_images": num_images,
            "num_classes": 9,
            "level_sizes": [(height, width), (-(-height // 2), -(-width // 2)), (1, 2)],
            "strides": (8, 16, 40),
            "sizes_of_interest": (32, 56),
            "radius": (1.5, 0.8, 2.3)[seed % 3],
        }
        actual = ops.fcos_targets(*args, **options, backend=backend)
        expected = ops.fcos_targets(*args, **options, backend="reference")
        for name, one, other in zip(FCOSTargets._fields, actual, expected, strict=True):
            assert torch.equal(one, other), f"batch {seed}: {name}"
        positives += int((actual.object_indices >= 0).sum())
    assert positives > 10 * num_batches


@each_backend
def test_positions_that_float32_rounds(backend: str) -> None:
    """Beyond 2^24 pixels a cell is compared where float32 puts it, not where it is."""
    width = 2**21 + 300
    center = torch.tensor([[2.0**24 + 1000, 4.0]])
    boxes = torch.cat([center - 3000, center + 3000], dim=1)
    args = (boxes, torch.tensor([1]), center, torch.tensor([0]))
    options: dict[str, Any] = {
        "num_images": 1,
        "num_classes": 9,
        "level_sizes": [(1, width)],
        "strides": (8,),
        "sizes_of_interest": (),
        "radius": 50.3,
    }
    if backend == "triton" or "cuda_on_host" in str(PATH):
        pytest.skip("8193 blocks take the interpreter and the host too long")
    actual = ops.fcos_targets(*args, **options, backend=backend)
    expected = ops.fcos_targets(*args, **options, backend="reference")
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))
    assert (actual.labels == 1).sum() > 90


def test_more_levels_than_the_kernels_have() -> None:
    boxes, labels, centers = make_objects(2, 0)
    images = torch.zeros(2, dtype=torch.int64)
    options: dict[str, Any] = {
        "num_images": 1,
        "num_classes": 9,
        "level_sizes": [(2, 2)] * 33,
        "strides": (8,) * 33,
        "sizes_of_interest": (64,) * 32,
    }
    assert ops.fcos_targets(boxes, labels, centers, images, **options).labels.shape == (1, 33 * 4)
    with pytest.raises(ValueError, match="fcos_targets: backend 'cpp' cannot .*up to 32 levels, got 33"):
        ops.fcos_targets(boxes, labels, centers, images, **options, backend="cpp")
