from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from condinst.data import transforms
from condinst.data.objects import Objects, Segmentation
from condinst.data.resize import network_size, resize_image
from condinst.data.rles import encode_masks, mask_pixels
from condinst.data.transforms import Crop, Target, View, change_objects, paste
from condinst.geometry import boxes_of_masks
from tests.data.augmentation import make_transform

HEIGHT, WIDTH = 40, 60
Box = tuple[int, int, int, int]


def make_sample(boxes: list[Box], kind: str = "rle") -> tuple[Tensor, Objects]:
    """An image that is bright exactly where the objects, filled boxes, are."""
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    image = (masks.any(0) * 200).to(torch.uint8).expand(3, HEIGHT, WIDTH).contiguous()
    polygons: list[Segmentation] = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes]
    objects = Objects(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)),
        segmentations=list(encode_masks(masks)) if kind == "rle" else polygons,
        size=(HEIGHT, WIDTH),
        image_id=5,
    )
    return image, objects


def masks_of(target: Target, image: Tensor) -> Tensor:
    """The masks of a target as pixels."""
    assert all(tuple(rle["size"]) == tuple(image.shape[1:]) for rle in target["rles"])
    return mask_pixels(target["rles"], np.arange(image.shape[1]), np.arange(image.shape[2]))


KINDS = pytest.mark.parametrize("kind", ["rle", "polygon"])


def test_boxes_of_masks_end_after_the_last_pixel() -> None:
    boxes = [(0, 0, 1, 1), (3, 7, 20, 9), (59, 39, 60, 40)]
    image, objects = make_sample(boxes)
    masks = mask_pixels([one for one in objects.segmentations if isinstance(one, dict)], *map(np.arange, (40, 60)))
    assert boxes_of_masks(masks).tolist() == [list(box) for box in boxes]
    assert boxes_of_masks(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4)


@KINDS
@pytest.mark.parametrize("crop_size", [0, 32])
@pytest.mark.parametrize("seed", range(8))
def test_changes_keep_image_masks_and_boxes_together(seed: int, crop_size: int, kind: str) -> None:
    image, objects = make_sample([(4, 10, 24, 20), (30, 20, 56, 40), (40, 0, 44, 4)], kind)
    torch.manual_seed(seed)
    transform = make_transform(
        min_size_train=(40, 80),
        crop_size=crop_size,
        min_size_test=80,
        max_size_test=120,
        horizontal_flip=0.5,
        vertical_flip=0.5,
        transpose=0.5,
    )
    changed, target = transform(image, objects, transform.draw_crop(HEIGHT, WIDTH))
    assert type(changed) is Tensor and changed.dtype == torch.uint8 and changed.is_contiguous()
    masks = masks_of(target, changed)
    bright = changed[0] > 100
    assert (bright ^ masks.any(0)).float().mean() < 0.01  # corners, where four pixels mix
    assert (boxes_of_masks(masks) - target["boxes"]).abs().max() <= (1 if kind == "polygon" else 0)
    assert target["image_id"] == 5 and target["boxes"].dtype == torch.float32


@KINDS
def test_all_eight_mirrorings_occur(kind: str) -> None:
    torch.manual_seed(0)
    transform = make_transform(min_size_train=(40,), horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5)
    seen = {tuple(transform(*make_sample([(5, 10, 25, 20)], kind), None)[1]["boxes"][0].tolist()) for _ in range(100)}
    assert len(seen) == 8


def test_whole_images_get_adelaidets_sizes_and_pixels() -> None:
    image = torch.randint(256, (3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    objects = make_sample([(5, 10, 25, 20)])[1]
    transform = make_transform(min_size_train=(20, 50, 70), max_size_train=90, horizontal_flip=0)
    assert transform.draw_crop(HEIGHT, WIDTH) is None
    sizes = set()
    for seed in range(12):
        torch.manual_seed(seed)
        changed, target = transform(image, objects, None)
        size = (changed.shape[1], changed.shape[2])
        assert torch.equal(changed, resize_image(image, size))
        scale = torch.tensor([size[1] / WIDTH, size[0] / HEIGHT]).repeat(2)
        assert torch.allclose(target["boxes"], objects.boxes * scale)
        sizes.add(size)
    assert sizes == {network_size(HEIGHT, WIDTH, shorter, 90) for shorter in (20, 50, 70)} and (60, 90) in sizes


@pytest.mark.parametrize("size", [(40, 60), (31, 47), (53, 79), (80, 120), (7, 11)])
def test_masks_of_whole_images_are_resized_by_pils_nearest_neighbours(size: tuple[int, int]) -> None:
    noise = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) > 0.5
    view = View(Crop(0, 0, HEIGHT, WIDTH, *size), whole=True)
    pixels = mask_pixels(view.masks(encode_masks(noise)), np.arange(size[0]), np.arange(size[1]))
    for mask, result in zip(noise, pixels, strict=True):
        exact = Image.fromarray(mask.to(torch.uint8).numpy()).resize(size[::-1], Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(exact).astype(bool), result.numpy())


@KINDS
def test_crop_and_scale_cuts_objects(kind: str) -> None:
    image, objects = make_sample([(0, 0, 20, 20), (20, 0, 40, 40), (50, 0, 60, 10)], kind)
    view = View(Crop(top=10, left=10, height=20, width=20, new_height=40, new_width=40))
    image, target = view.image(image), change_objects(objects, view)
    assert image.shape == (3, 40, 40)
    assert target["boxes"].tolist() == [[0, 0, 20, 20], [20, 0, 40, 40]]
    assert target["labels"].tolist() == [0, 1]
    assert masks_of(target, image).sum((1, 2)).tolist() == [400, 800]


def test_objects_that_vanish_are_dropped() -> None:
    objects = make_sample([(5, 10, 6, 11), (20, 10, 40, 30)], "polygon")[1]
    view = View(Crop(0, 0, HEIGHT, WIDTH, 4, 6), whole=True)
    target = change_objects(objects, view)
    assert target["labels"].tolist() == [1] and len(target["boxes"]) == len(target["rles"]) == 1


@pytest.mark.parametrize("scale", [40, 10**5])
def test_polygons_that_a_scale_makes_too_long_are_refused(scale: int) -> None:
    """Within the limits of a file; drawn at this scale they would take gigabytes, or wrap in 32 bits."""
    view = View(Crop(0, 0, 10, 10, 10 * scale, 10 * scale), whole=True)
    with pytest.raises(ValueError, match="expected outlines of 4000000 pixels|expected numbers of at most 100000000"):
        view.polygons([[-60_000.0, 0, 60_000, 0, 60_000, 10, -60_000, 10]])


@pytest.mark.parametrize("whole", [True, False])
def test_few_masks_at_a_time_are_pixels(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    objects = make_sample([(0, 0, 9, 9), (5, 10, 6, 11), (20, 10, 40, 30)])[1]
    rles = [one for one in objects.segmentations if isinstance(one, dict)]
    view = View(Crop(0, 0, HEIGHT, WIDTH, 30, 50), whole=whole, transpose=True)
    expected, at_a_time = view.masks(rles), []

    def count(rles: list[Any], *place: Any) -> Tensor:
        at_a_time.append(len(rles))
        return mask_pixels(rles, *place)

    monkeypatch.setattr(transforms, "_PIXELS_AT_A_TIME", 2 * HEIGHT * WIDTH)
    monkeypatch.setattr(transforms, "mask_pixels", count)
    assert view.masks(rles) == expected and at_a_time == [2, 1]
    assert view.masks([]) == []


def test_images_without_objects() -> None:
    image, objects = make_sample([])
    for transform in (make_transform(min_size_train=(40,)), make_transform(crop_size=32, min_size_test=40)):
        _, target = transform(image, objects, transform.draw_crop(HEIGHT, WIDTH))
        assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,) and target["rles"] == []


def test_scaling_is_that_of_inference() -> None:
    image = torch.randint(256, (3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    scaled = View(Crop(top=0, left=0, height=HEIGHT, width=WIDTH, new_height=25, new_width=37)).image(image)
    exact = F.interpolate(image[None].float(), (25, 37), mode="bilinear", antialias=True)[0]
    assert (scaled.float() - exact).abs().max() <= 1  # 8-bit rounding


@pytest.mark.parametrize("scale_range", [(0.5, 2.0), (0.1, 2.0)])
@pytest.mark.parametrize("seed", range(5))
def test_draw_crop_stays_inside(seed: int, scale_range: tuple[float, float]) -> None:
    torch.manual_seed(seed)
    transform = make_transform(crop_size=32, scale_range=scale_range, min_size_test=40, max_size_test=60)
    crop = transform.draw_crop(HEIGHT, WIDTH)
    assert crop is not None
    x1, y1, x2, y2 = crop.box
    assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT
    assert crop.new_width == 32 or (crop.new_width < 32 and crop.width == WIDTH)
    assert crop.new_height == 32 or (crop.new_height < 32 and crop.height == HEIGHT)
    scales = crop.new_width / crop.width, crop.new_height / crop.height
    assert abs(scales[0] - scales[1]) < 0.05 + 0.1 * scales[0]  # sides are whole pixels


def test_pasted_objects_cover_what_lies_under_them() -> None:
    boxes: list[Box] = [(0, 0, 10, 10), (20, 20, 40, 40), (30, 0, 34, 5)]
    image, objects = make_sample(boxes)
    whole = View(Crop(0, 0, HEIGHT, WIDTH, HEIGHT, WIDTH), whole=True)
    target = change_objects(objects, whole)
    other_image, other_objects = make_sample([(25, 20, 60, 40), (28, 0, 34, 6)])
    other_image = other_image // 2
    joined_image, joined = paste(image, target, other_image, change_objects(other_objects, whole))
    # the third was covered; the second keeps five columns
    assert joined["labels"].tolist() == [0, 1, 0, 1]
    assert joined["boxes"].tolist() == [[0, 0, 10, 10], [20, 20, 25, 40], [25, 20, 60, 40], [28, 0, 34, 6]]
    masks = masks_of(joined, joined_image)
    assert masks.sum(0).max() == 1
    assert torch.equal(joined_image[0] == 200, masks[:2].any(0)) and torch.equal(
        joined_image[0] == 100, masks[2:].any(0)
    )
    assert (image == 100).sum() == 0  # the argument is left alone


def test_pasting_on_a_smaller_image_cuts_the_objects() -> None:
    image, target = torch.zeros(3, 30, 30, dtype=torch.uint8), change_objects(*_nothing(30, 30))
    other_image, other_objects = make_sample([(20, 5, 50, 10), (40, 5, 50, 10)])
    view = View(Crop(0, 0, HEIGHT, WIDTH, HEIGHT, WIDTH), whole=True)
    joined_image, joined = paste(image, target, other_image, change_objects(other_objects, view))
    assert joined["boxes"].tolist() == [[20, 5, 30, 10]] and joined["labels"].tolist() == [0]
    assert torch.equal(joined_image[0] == 200, masks_of(joined, joined_image)[0])


def test_copy_paste_takes_some_objects_of_the_other_image() -> None:
    image, objects = make_sample([(0, 0, 10, 10)])
    calls = 0

    def other() -> tuple[Tensor, Objects]:
        nonlocal calls
        calls += 1
        return make_sample([(20, 20, 30, 30), (40, 20, 50, 30)], "polygon")

    transform = make_transform(min_size_train=(40,), horizontal_flip=0, copy_paste=0.5)
    numbers = set()
    for seed in range(40):
        torch.manual_seed(seed)
        numbers.add(len(transform(image, objects, None, other)[1]["labels"]))
    assert numbers == {1, 2, 3} and 10 < calls < 30
    transform(image, objects, None)


def make_panoptic_sample(boxes: list[Box], ground: int = 7) -> tuple[Tensor, Objects]:
    """A sample of separate boxes with the label of each pixel: void above, ground below."""
    image, objects = make_sample(boxes)
    semantic = torch.full((HEIGHT, WIDTH), ground, dtype=torch.int16)
    semantic[: HEIGHT // 4] = -1
    for label, (x1, y1, x2, y2) in enumerate(boxes):
        semantic[y1:y2, x1:x2] = label
    return image, dataclasses.replace(objects, semantic=semantic)


@pytest.mark.parametrize("seed", range(8))
def test_labels_of_whole_images_are_those_of_the_masks(seed: int) -> None:
    """On noise, where a pixel beside the right one has another label."""
    random = torch.Generator().manual_seed(seed)
    image, objects = make_panoptic_sample([(0, 0, 1, 1)])
    semantic = torch.randint(-1, 5, (HEIGHT, WIDTH), generator=random, dtype=torch.int16)
    masks = torch.stack([semantic == label for label in range(3)])
    objects = Objects(
        boxes_of_masks(masks), torch.arange(3), list(encode_masks(masks)), objects.size, 5, semantic=semantic
    )
    torch.manual_seed(seed)
    transform = make_transform(min_size_train=(31, 40, 77), vertical_flip=0.5, transpose=0.5)
    changed, target = transform(image, objects, None)
    assert target["semantic"].shape == changed.shape[1:] and target["semantic"].dtype == torch.int16
    assert target["labels"].tolist() == [0, 1, 2] and target["semantic"].is_contiguous()
    exact = torch.stack([target["semantic"] == label for label in range(3)])
    assert torch.equal(exact, masks_of(target, changed))


def test_labels_of_a_part_come_from_the_middles_of_its_pixels() -> None:
    semantic = torch.arange(HEIGHT * WIDTH, dtype=torch.int16).reshape(HEIGHT, WIDTH)
    part = Crop(top=3, left=10, height=20, width=25, new_height=13, new_width=40)
    rows = [int(3 + (row + 0.5) * 20 / 13) for row in range(13)]
    columns = [int(10 + (column + 0.5) * 25 / 40) for column in range(40)]
    assert torch.equal(View(part).semantic(semantic), semantic[rows][:, columns])
    turned = View(part, transpose=True, horizontal_flip=True).semantic(semantic)
    assert torch.equal(turned, semantic[rows][:, columns].mT.flip(1))


@pytest.mark.parametrize("seed", range(8))
def test_labels_of_parts_stay_with_image_and_masks(seed: int) -> None:
    image, objects = make_panoptic_sample([(4, 10, 24, 20), (30, 20, 56, 40), (40, 0, 44, 4)])
    torch.manual_seed(seed)
    transform = make_transform(
        crop_size=48, min_size_test=80, max_size_test=120, scale_range=(0.5, 2.0), vertical_flip=0.5, transpose=0.5
    )
    changed, target = transform(image, objects, transform.draw_crop(HEIGHT, WIDTH))
    semantic = target["semantic"]
    assert semantic.shape == changed.shape[1:]
    of_objects = (semantic >= 0) & (semantic < 3)
    assert ((changed[0] > 100) ^ of_objects).float().mean() < 0.02
    for mask, label in zip(masks_of(target, changed), target["labels"].tolist(), strict=True):
        assert ((semantic == label) ^ mask).float().mean() < 0.02


def test_pasted_objects_bring_their_labels() -> None:
    whole = View(Crop(0, 0, HEIGHT, WIDTH, HEIGHT, WIDTH), whole=True)
    image, objects = make_panoptic_sample([(0, 0, 10, 10), (20, 20, 40, 40), (30, 0, 34, 5)])
    target = change_objects(objects, whole)
    other_image, other_objects = make_panoptic_sample([(25, 20, 60, 40), (28, 0, 34, 6)], ground=8)
    other = change_objects(other_objects, whole)
    joined_image, joined = paste(image, target, other_image, other)
    exact = target["semantic"].clone()
    exact[20:40, 25:60], exact[0:6, 28:34] = 0, 1
    assert torch.equal(joined["semantic"], exact)
    assert objects.semantic is not None and torch.equal(target["semantic"], objects.semantic)  # it is left alone
    masks = masks_of(joined, joined_image)
    for label in range(2):
        own = joined["labels"] == label
        assert torch.equal(masks[own].any(0), joined["semantic"] == label)


def test_instances_alone_have_no_labels_of_pixels() -> None:
    image, objects = make_sample([(5, 10, 25, 20)])
    assert "semantic" not in make_transform(min_size_train=(40,))(image, objects, None)[1]


def _nothing(height: int, width: int) -> tuple[Objects, View]:
    objects = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), [], (height, width), 1)
    return objects, View(Crop(0, 0, height, width, height, width), whole=True)
