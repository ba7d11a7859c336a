from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.data.transforms import Crop, TrainingTransform, crop_and_scale, transpose
from condinst.geometry import boxes_of_masks

HEIGHT, WIDTH = 40, 60


def make_sample(boxes: list[tuple[int, int, int, int]]) -> tuple[Tensor, dict[str, Any]]:
    """An image that is bright exactly where the objects, filled boxes, are."""
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    image = (masks.any(0) * 200).to(torch.uint8).expand(3, HEIGHT, WIDTH).contiguous()
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(len(boxes)),
        "masks": masks,
        "image_id": 5,
    }
    return image, target


def test_boxes_of_masks_end_after_the_last_pixel() -> None:
    boxes = [(0, 0, 1, 1), (3, 7, 20, 9), (59, 39, 60, 40)]
    assert boxes_of_masks(make_sample(boxes)[1]["masks"]).tolist() == [list(box) for box in boxes]
    assert boxes_of_masks(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4)


def test_transpose_swaps_x_and_y() -> None:
    image, target = make_sample([(5, 10, 25, 20)])
    turned, changed = transpose(image, target)
    assert turned.shape == (3, WIDTH, HEIGHT)
    assert changed["boxes"].tolist() == [[10, 5, 20, 25]]
    assert torch.equal(turned[0] > 0, changed["masks"][0])


@pytest.mark.parametrize("seed", range(8))
def test_mirroring_keeps_image_masks_and_boxes_together(seed: int) -> None:
    image, target = make_sample([(5, 10, 25, 20)])
    torch.manual_seed(seed)
    transform = TrainingTransform(horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5)
    image, target = transform(image, target, None)
    assert type(image) is Tensor and image.dtype == torch.uint8
    assert torch.equal(image[0] > 0, target["masks"][0])
    assert torch.equal(boxes_of_masks(target["masks"]), target["boxes"])
    assert target["image_id"] == 5


def test_all_eight_mirrorings_occur() -> None:
    torch.manual_seed(0)
    transform = TrainingTransform(horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5)
    seen = {tuple(transform(*make_sample([(5, 10, 25, 20)]), None)[1]["boxes"][0].tolist()) for _ in range(100)}
    assert len(seen) == 8


def test_crop_and_scale_cuts_objects() -> None:
    image, target = make_sample([(0, 0, 20, 20), (20, 0, 40, 40), (50, 0, 60, 10)])
    crop = Crop(top=10, left=10, height=20, width=20, new_height=40, new_width=40)
    image, target = crop_and_scale(image, target, crop)
    assert image.shape == (3, 40, 40)
    assert target["boxes"].tolist() == [[0, 0, 20, 20], [20, 0, 40, 40]]
    assert target["labels"].tolist() == [0, 1]
    assert target["masks"].sum((1, 2)).tolist() == [400, 800]


def test_scaling_is_that_of_inference() -> None:
    image = torch.randint(256, (3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    crop = Crop(top=0, left=0, height=HEIGHT, width=WIDTH, new_height=25, new_width=37)
    scaled, _ = crop_and_scale(image, make_sample([])[1], crop)
    exact = F.interpolate(image[None].float(), (25, 37), mode="bilinear", antialias=True)[0]
    assert (scaled.float() - exact).abs().max() <= 1  # 8-bit rounding


@pytest.mark.parametrize("seed", range(5))
def test_draw_crop_stays_inside(seed: int) -> None:
    torch.manual_seed(seed)
    transform = TrainingTransform(crop_size=32, scale_range=(0.5, 2.0), min_size=40, max_size=60)
    crop = transform.draw_crop(HEIGHT, WIDTH)
    assert crop is not None
    x1, y1, x2, y2 = crop.box
    assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT
    assert crop.new_width == 32 or (crop.new_width < 32 and crop.width == WIDTH)
    assert crop.new_height == 32 or (crop.new_height < 32 and crop.height == HEIGHT)
    assert abs(crop.new_width / crop.width - crop.new_height / crop.height) < 0.05  # sides are whole pixels


def test_no_crop_leaves_the_size_alone() -> None:
    assert TrainingTransform().draw_crop(HEIGHT, WIDTH) is None
