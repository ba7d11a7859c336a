"""`nms` against a greedy loop and torchvision."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from condinst import ops
from condinst.ops.nms.spec import nms_inputs

CPU = torch.device("cpu")
ON_HOST = bool(os.environ.get("CONDINST_LIBRARY"))
"""Whether "cpp" is the CUDA code: thousands of boxes are too many there."""

backends = pytest.mark.parametrize("backend", ["reference", "cpp"])


def kept(*inputs: Tensor, **options: Any) -> list[int]:
    """The indices that `nms` keeps, image after image."""
    indices, counts = ops.nms(*inputs, **options)
    assert counts.tolist() == (indices >= 0).sum(dim=1).tolist()
    assert all((row[:count] >= 0).all() for row, count in zip(indices, counts.tolist(), strict=True))
    return indices[indices >= 0].tolist()


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, images: Tensor, threshold: float) -> list[int]:
    """By the definition: the best one left stays, and takes away what overlaps with it too much; in NumPy's float32."""
    x1, y1, x2, y2 = boxes.numpy().T.copy()
    score_of, label_of, image_of = scores.numpy(), labels.numpy(), images.numpy()
    survivors: list[int] = []
    with np.errstate(all="ignore"):
        areas = (x2 - x1) * (y2 - y1)
        competes = ~np.isnan(score_of) & (image_of >= 0)
        for image, label in sorted(set(zip(image_of[competes].tolist(), label_of[competes].tolist(), strict=True))):
            left = np.flatnonzero(competes & (image_of == image) & (label_of == label))
            left = left[np.argsort(-score_of[left], kind="stable")]
            while left.size:
                best, left = left[0], left[1:]
                survivors.append(int(best))
                width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
                height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
                overlap = np.maximum(width, 0) * np.maximum(height, 0)
                iou = overlap / (areas[best] + areas[left] - overlap)
                left = left[~(iou.astype(np.float64) > threshold)]
    return sorted(survivors, key=lambda i: (int(image_of[i]), -float(score_of[i]), i))


def random_set(generator: np.random.Generator, largest: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes that crowd together, scores that tie, and some boxes without area, inverted, with NaN, or huge."""
    num_boxes = int(largest * generator.random() ** 5)
    num_clusters = int(generator.integers(1, 60))
    centers = generator.uniform(-500, 500, (num_clusters, 2))[generator.integers(num_clusters, size=num_boxes)]
    corner = centers + generator.normal(0, generator.choice([1, 10, 100]), (num_boxes, 2))
    size = generator.uniform(0, 60, (num_boxes, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    if generator.random() < 0.3:
        boxes = boxes.round(-1)  # whole tens: equal boxes, quotients that tie with thresholds
    kind = generator.integers(40, size=num_boxes)
    boxes[kind == 0, 2:] = boxes[kind == 0, :2]
    boxes[kind == 1] = boxes[kind == 1][:, [2, 3, 0, 1]]
    boxes[kind == 2, generator.integers(4)] = np.nan
    boxes[kind == 3] *= 1e18  # areas overflow
    boxes[kind == 4] *= 1e-24  # areas underflow
    boxes[kind == 5, 2:] = np.inf
    scores = generator.random(num_boxes) if generator.random() < 0.5 else generator.integers(20, size=num_boxes) / 20
    scores[generator.random(num_boxes) < 0.01] = np.nan
    labels = generator.integers(generator.choice([1, 3, 80]), size=num_boxes)
    images = generator.integers(-1, generator.choice([1, 2, 5]), size=num_boxes)
    floats = (torch.from_numpy(values.astype(np.float32)) for values in (boxes, scores))
    return *floats, torch.from_numpy(labels), torch.from_numpy(images)  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(1 if ON_HOST else 20))
def test_keeps_what_a_greedy_loop_keeps_cpp(seed: int) -> None:
    """50 sets a seed; 1,000 in all."""
    generator = np.random.default_rng(seed)
    for turn in range(50):
        inputs = random_set(generator, 400 if ON_HOST else 5001)
        threshold = float(generator.choice([0.0, 0.3, 0.5, 0.6, 0.75, 1.0]))
        expected = greedy(*inputs, threshold)
        actual = kept(*inputs, iou_threshold=threshold, num_images=5, backend="cpp")
        assert actual == expected, f"seed {seed}, turn {turn}"


@pytest.mark.parametrize("num_boxes", [0, 1, 2, 63, 200])
def test_the_reference_keeps_what_a_greedy_loop_keeps(num_boxes: int) -> None:
    for seed in range(5):
        inputs = nms_inputs(torch.float32, CPU, num_boxes, seed=seed)
        assert kept(*inputs, iou_threshold=0.5, backend="reference") == greedy(*inputs, 0.5)


@pytest.mark.skipif(ON_HOST, reason="too many boxes")
def test_most_boxes_survive() -> None:
    """5,000 boxes of one class that are apart, and the same once more, which all go."""
    place = torch.arange(5000)
    corner = torch.stack([place % 100, place // 100], dim=1) * 10.0
    boxes = torch.cat([corner, corner + 9], dim=1).repeat(2, 1)
    scores = torch.rand(10000)
    labels = torch.zeros(10000, dtype=torch.int64)
    better = torch.where(scores[:5000] >= scores[5000:], place, place + 5000)
    found = kept(boxes, scores, labels, labels, iou_threshold=0.5, num_images=1)
    assert sorted(found) == sorted(better.tolist())


@pytest.mark.skipif(ON_HOST, reason="too many boxes")
def test_any_number_of_threads(keep_threads: None) -> None:
    """Groups that are large enough to be given to several threads."""
    inputs = nms_inputs(torch.float32, CPU, 24000, num_classes=4, num_images=3, extent=4000.0)
    results = []
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        results.append(kept(*inputs, iou_threshold=0.5, num_images=3, backend="cpp"))
    assert all(other == results[0] for other in results)
    assert results[0] == greedy(*inputs, 0.5)


@backends
def test_torchvision(backend: str) -> None:
    boxes, _, labels, images = nms_inputs(torch.float32, CPU, 300, seed=9)
    scores = torch.rand(300)
    ours = kept(boxes, scores, labels, torch.zeros_like(images), iou_threshold=0.6, backend=backend)
    assert ours == torchvision.ops.batched_nms(boxes, scores, labels, 0.6).tolist()


@backends
def test_classes_never_touch(backend: str) -> None:
    """Far from 0, `batched_nms` loses bits of the coordinates to the offsets that keep its classes apart."""
    boxes, _, labels, images = nms_inputs(torch.float32, CPU, 200, num_classes=80, num_images=1, seed=3)
    boxes = boxes.round() + 1e6  # exact
    scores = torch.arange(200, 0, -1) / 200
    found = kept(boxes, scores, labels, images, iou_threshold=0.5, backend=backend)
    assert found == greedy(boxes, scores, labels, images, 0.5)
    assert found != torchvision.ops.batched_nms(boxes, scores, labels, 0.5).tolist()
    same_boxes = boxes[:1].expand(80, 4)
    every_label = torch.arange(80) * (2**62 // 40) - 2**62
    zeros = torch.zeros(80, dtype=torch.int64)
    assert len(kept(same_boxes, scores[:80], every_label, zeros, iou_threshold=0.5, backend=backend)) == 80


@backends
def test_order_of_the_input_does_not_matter(backend: str) -> None:
    boxes, _, labels, images = nms_inputs(torch.float32, CPU, 250, seed=5)
    scores = torch.randperm(250) / 250  # distinct
    first = kept(boxes, scores, labels, images, iou_threshold=0.4, backend=backend)
    order = torch.randperm(250)
    inputs = (boxes[order], scores[order], labels[order], images[order])
    again = kept(*inputs, iou_threshold=0.4, backend=backend)
    assert order[again].tolist() == first


@backends
def test_images_are_apart_and_padding_is_passed_over(backend: str) -> None:
    one, other = (nms_inputs(torch.float32, CPU, 90, num_images=1, seed=seed)[:3] for seed in (1, 2))
    # they alternate
    boxes, scores, labels = (torch.stack(pair, dim=1).flatten(0, 1) for pair in zip(one, other, strict=True))
    images = torch.tensor([0, 2]).repeat(90)
    images[::6] = -1  # of the first
    indices, counts = ops.nms(boxes, scores, labels, images, iou_threshold=0.5, num_images=3, backend=backend)
    zeros = torch.zeros(90, dtype=torch.int64)
    in_one = torch.arange(90) % 3 != 0
    alone = kept(*(values[in_one] for values in one), zeros[in_one], iou_threshold=0.5, backend=backend)
    assert indices[0, : counts[0]].tolist() == (2 * torch.nonzero(in_one).squeeze(1)[alone]).tolist()
    assert counts[1] == 0 and (indices[1] == -1).all()
    alone = kept(*other, zeros, iou_threshold=0.5, backend=backend)
    assert indices[2, : counts[2]].tolist() == [2 * index + 1 for index in alone]


@backends
def test_quotient_is_compared_in_full(backend: str) -> None:
    """An IoU of 3/5 as float32 is a little above 0.6, and not above the float32 that is next to 0.6."""
    boxes = torch.tensor([[0.0, 0, 4, 1], [1.0, 0, 5, 1]])
    zeros = torch.zeros(2, dtype=torch.int64)
    for threshold, left in ((0.6, 1), (float(torch.tensor(0.6)), 2), (0.59, 1), (0.61, 2)):
        found = kept(boxes, torch.tensor([0.9, 0.8]), zeros, zeros, iou_threshold=threshold, backend=backend)
        assert len(found) == left, threshold


@backends
def test_max_detections_keeps_ties(backend: str) -> None:
    boxes = torch.tensor([[10.0 * i, 0, 10.0 * i + 5, 5] for i in range(5)])
    scores = torch.tensor([0.5, 0.9, 0.5, 0.5, 0.1])
    zeros = torch.zeros(5, dtype=torch.int64)
    shared = {"iou_threshold": 0.5, "backend": backend}
    assert kept(boxes, scores, zeros, zeros, **shared, max_detections=2) == [1, 0]
    assert kept(boxes, scores, zeros, zeros, **shared, max_detections=2, capacity=3) == [1, 0, 2]
    assert kept(boxes, scores, zeros, zeros, **shared, max_detections=2, capacity=5) == [1, 0, 2, 3]
    assert kept(boxes, scores, zeros, zeros, **shared, max_detections=1, capacity=5) == [1]
    assert kept(boxes, scores, zeros, zeros, **shared, capacity=2) == [1, 0]
    assert len(kept(boxes, scores, zeros, zeros, **shared)) == 5


@pytest.mark.parametrize("name", ["max_detections", "capacity", "num_images"])
def test_a_result_that_is_too_large_names_its_argument(name: str) -> None:
    boxes, scores, zeros = torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    options: dict[str, Any] = {"max_detections": 10**6, "num_images": 1} | {name: 2**48}
    with pytest.raises(ValueError, match=f"^{name}: expected "):
        ops.nms(boxes, scores, zeros, zeros, iou_threshold=0.5, **options)
