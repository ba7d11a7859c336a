"""`nms` against torchvision's and against a greedy loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from condinst import ops


def make_boxes(num_boxes: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(num_boxes, 2, generator=generator) * 60 - 30  # negative coordinates, too
    size = torch.rand(num_boxes, 2, generator=generator) * 40
    scores = torch.rand(num_boxes, generator=generator).mul(50).round() / 50  # with ties
    labels = torch.randint(3, (num_boxes,), generator=generator)
    images = torch.randint(2, (num_boxes,), generator=generator)
    return torch.cat([corner, corner + size], dim=1), scores, labels, images


def kept(*inputs: Tensor, **options: Any) -> list[int]:
    """The indices that `nms` keeps, image after image."""
    indices, counts = ops.nms(*inputs, **options)
    assert counts.tolist() == (indices >= 0).sum(dim=1).tolist()
    return indices[indices >= 0].tolist()


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, images: Tensor, threshold: float) -> list[int]:
    iou = torchvision.ops.box_iou(boxes, boxes)
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i)):
        rivals = (k for k in kept if labels[k] == labels[index] and images[k] == images[index])
        if not any(iou[k, index] > threshold for k in rivals):
            kept.append(index)
    return sorted(kept, key=lambda i: (int(images[i]), -float(scores[i]), i))


@pytest.mark.parametrize("num_boxes", [0, 1, 2, 63, 200])
@pytest.mark.parametrize("seed", range(5))
def test_greedy_loop(num_boxes: int, seed: int) -> None:
    inputs = make_boxes(num_boxes, seed)
    assert kept(*inputs, iou_threshold=0.5) == greedy(*inputs, 0.5)


def test_torchvision() -> None:
    boxes, scores, labels, images = make_boxes(300, 9)
    scores = torch.rand(300)
    ours = kept(boxes, scores, labels, torch.zeros_like(images), iou_threshold=0.6)
    assert ours == torchvision.ops.batched_nms(boxes, scores, labels, 0.6).tolist()


def test_max_detections_keeps_ties() -> None:
    boxes = torch.tensor([[10.0 * i, 0, 10.0 * i + 5, 5] for i in range(5)])
    scores = torch.tensor([0.5, 0.9, 0.5, 0.5, 0.1])
    zeros = torch.zeros(5, dtype=torch.int64)
    assert kept(boxes, scores, zeros, zeros, iou_threshold=0.5, max_detections=2) == [1, 0]
    assert kept(boxes, scores, zeros, zeros, iou_threshold=0.5, max_detections=2, capacity=3) == [1, 0, 2]
    assert kept(boxes, scores, zeros, zeros, iou_threshold=0.5, max_detections=2, capacity=5) == [1, 0, 2, 3]
    assert kept(boxes, scores, zeros, zeros, iou_threshold=0.5, max_detections=1, capacity=5) == [1]
    assert len(kept(boxes, scores, zeros, zeros, iou_threshold=0.5)) == 5


def test_bad_input() -> None:
    boxes, scores, labels, images = make_boxes(3, 0)
    with pytest.raises(ValueError, match=r"boxes: expected shape \[3, 4\]"):
        ops.nms(boxes[:, :3], scores, labels, images, iou_threshold=0.5)
    with pytest.raises(ValueError, match=r"scores: expected shape \[3\], got \[2\]"):
        ops.nms(boxes, scores[:2], labels, images, iou_threshold=0.5)
    with pytest.raises(TypeError, match="labels: expected dtype int64"):
        ops.nms(boxes, scores, labels.float(), images, iou_threshold=0.5)
