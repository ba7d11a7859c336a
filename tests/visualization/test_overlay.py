"""Overlays: what is drawn, where, and that no size is too small or too full."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from condinst.visualization import draw_predictions
from condinst.visualization.overlay import instance_colour

GREY = 100


def _draw(
    masks: Tensor,
    boxes: Tensor | None = None,
    scores: Tensor | None = None,
    class_names: tuple[str, ...] = ("a",),
) -> Image.Image:
    """Draws masks bool [K, H, W] on grey; the boxes are theirs by default."""
    count, height, width = masks.shape
    if boxes is None:
        boxes = torch.zeros(count, 4)
        for box, mask in zip(boxes, masks, strict=True):
            y, x = mask.nonzero(as_tuple=True)
            if len(x):
                box[:] = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
    if scores is None:
        scores = torch.linspace(0.9, 0.5, count)
    image = torch.full((3, height, width), GREY, dtype=torch.uint8)
    labels = torch.zeros(count, dtype=torch.int64)
    return draw_predictions(image, boxes, labels, scores, masks, class_names)


def _block(height: int, width: int, rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


def test_tint_contour_and_untouched_background() -> None:
    mask = _block(60, 60, slice(20, 50), slice(20, 30))
    colour = np.array(instance_colour(0))
    pixels = np.asarray(_draw(mask[None], boxes=torch.tensor([[5.0, 10, 40, 55]])))
    assert pixels.shape == (60, 60, 3)
    np.testing.assert_array_equal(pixels[35, 20], colour)  # contour
    np.testing.assert_allclose(pixels[35, 25], 0.6 * GREY + 0.4 * colour, atol=1)  # inside
    np.testing.assert_array_equal(pixels[35, 35], [GREY] * 3)  # in the box, not in the mask
    np.testing.assert_allclose(pixels[35, 5], 0.4 * GREY + 0.6 * colour, atol=1)  # left side of the box
    np.testing.assert_allclose(pixels[35, 39], 0.4 * GREY + 0.6 * colour, atol=1)  # right side, the last pixel
    np.testing.assert_array_equal(pixels[57:], np.full((3, 60, 3), GREY))


def test_contour_follows_holes_and_the_border_of_the_image() -> None:
    mask = _block(40, 40, slice(0, 40), slice(0, 40))
    mask[15:25, 15:25] = False
    pixels = np.asarray(_draw(mask[None], boxes=torch.zeros(1, 4)))
    colour = list(instance_colour(0))
    assert pixels[14, 20].tolist() == colour and pixels[20, 25].tolist() == colour  # round the hole
    assert pixels[39, 20].tolist() == colour and pixels[20, 0].tolist() == colour  # at the border


def test_small_objects_lie_on_top_of_large_ones() -> None:
    large, small = _block(50, 50, slice(0, 50), slice(0, 50)), _block(50, 50, slice(20, 40), slice(20, 40))
    pixels = np.asarray(_draw(torch.stack([large, small]), boxes=torch.zeros(2, 4)))
    np.testing.assert_allclose(pixels[30, 30], 0.6 * GREY + 0.4 * np.array(instance_colour(1)), atol=1)


def test_names_are_written_where_there_is_room() -> None:
    mask = _block(200, 300, slice(80, 180), slice(50, 250))
    nameless = np.asarray(_draw(mask[None], boxes=torch.zeros(1, 4)))
    named = np.asarray(_draw(mask[None], class_names=("zebra",)))
    assert (named[60:79, 50:100] != nameless[60:79, 50:100]).any()
    assert (named[60:79, 50:100] == 0).all(axis=2).any()  # black text

    tiny = _block(200, 300, slice(80, 84), slice(50, 54))
    pixels = np.asarray(_draw(tiny[None], class_names=("zebra",)))
    assert (pixels[:79] == GREY).all()


def test_names_do_not_cover_each_other() -> None:
    masks = _block(200, 300, slice(80, 180), slice(50, 250)).repeat(2, 1, 1)
    one = np.asarray(_draw(masks[:1], scores=torch.tensor([0.9])))
    two = np.asarray(_draw(masks, scores=torch.tensor([0.9, 0.8])))
    np.testing.assert_array_equal(one[:80], two[:80])


def test_labels_without_names_are_numbers() -> None:
    mask = _block(200, 300, slice(80, 180), slice(50, 250))[None]
    assert _draw(mask, class_names=()).tobytes() == _draw(mask, class_names=("0",)).tobytes()


def test_annotations_have_no_scores() -> None:
    mask = _block(200, 300, slice(80, 180), slice(50, 250))[None]
    image = torch.zeros(3, 200, 300, dtype=torch.uint8)
    boxes, labels = torch.tensor([[50.0, 80, 250, 180]]), torch.tensor([0])
    drawn = [draw_predictions(image, boxes, labels, scores, mask) for scores in (None, torch.ones(1))]
    assert drawn[0].tobytes() != drawn[1].tobytes()  # the number alone


def test_same_input_same_picture() -> None:
    masks = torch.rand(5, 50, 60, generator=torch.Generator().manual_seed(0)) > 0.5
    assert _draw(masks).tobytes() == _draw(masks).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (2, 3), (17, 31)])
def test_tiny_images(size: tuple[int, int]) -> None:
    masks = torch.ones(2, *size, dtype=torch.bool)
    masks[1] = False  # an empty mask is fine
    picture = _draw(masks, boxes=torch.tensor([[0.0, 0, size[1], size[0]]]).repeat(2, 1))
    assert picture.size == (size[1], size[0]) and picture.mode == "RGB"


def test_no_objects_leave_the_image_as_it_is() -> None:
    picture = _draw(torch.zeros(0, 7, 9, dtype=torch.bool), boxes=torch.zeros(0, 4))
    assert (np.asarray(picture) == GREY).all()


def test_crowds() -> None:
    masks = torch.zeros(400, 600, 800, dtype=torch.bool)
    for index in range(400):
        y, x = divmod(index, 20)
        masks[index, y * 29 : y * 29 + 20, x * 39 : x * 39 + 25] = True
    pixels = np.asarray(_draw(masks, boxes=torch.zeros(400, 4)))
    for index in (0, 199, 399):
        y, x = divmod(index, 20)
        assert pixels[y * 29 + 10, x * 39].tolist() == list(instance_colour(index))


def test_the_given_image_is_not_changed() -> None:
    image = torch.full((3, 20, 20), GREY, dtype=torch.uint8)
    ones = torch.ones(1, 20, 20, dtype=torch.bool)
    label = torch.zeros(1, dtype=torch.int64)
    draw_predictions(image, torch.tensor([[0.0, 0, 20, 20]]), label, torch.ones(1), ones)
    assert (image == GREY).all()


def test_neighbouring_colours_differ_and_carry_black_text() -> None:
    colours = [np.array(instance_colour(index)) for index in range(300)]
    assert all(np.abs(a - b).max() > 60 for a, b in zip(colours, colours[1:], strict=False))
    assert min(colour @ [0.299, 0.587, 0.114] for colour in colours) > 100


@pytest.mark.parametrize("name", ["labels", "scores", "masks"])
def test_shapes_must_fit(name: str) -> None:
    arguments: dict[str, Any] = {
        "labels": torch.zeros(2, dtype=torch.int64),
        "scores": torch.zeros(2),
        "masks": torch.zeros(2, 4, 5, dtype=torch.bool),
    }
    arguments[name] = arguments[name][:1]
    with pytest.raises(ValueError, match=f"{name}: expected"):
        draw_predictions(torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(2, 4), **arguments)


def test_images_without_pixels_are_refused() -> None:
    for shape in ((3, 4, 0), (3, 0, 5), (1, 4, 5)):
        with pytest.raises(ValueError, match=r"image: expected uint8 \[3, H, W\] with pixels"):
            image, masks = torch.zeros(shape, dtype=torch.uint8), torch.zeros(0, *shape[1:], dtype=torch.bool)
            draw_predictions(image, torch.zeros(0, 4), torch.zeros(0), None, masks)


def test_a_box_far_outside_is_drawn_at_once() -> None:
    mask = torch.ones(1, 40, 50, dtype=torch.bool)
    far, near = torch.tensor([[-(2.0**30), 5, 2.0**30, 2.0**30]]), torch.tensor([[-9.0, 5, 60, 60]])
    start = time.perf_counter()
    picture = _draw(mask, far, class_names=("x" * 99,))
    assert time.perf_counter() - start < 2
    assert picture.tobytes() == _draw(mask, near, class_names=("x" * 99,)).tobytes()


@pytest.mark.parametrize("coordinate", [float("nan"), float("inf"), -1e30])
def test_boxes_that_cannot_be_drawn_are_refused(coordinate: float) -> None:
    boxes = torch.tensor([[0.0, 0, coordinate, 4]])
    with pytest.raises(ValueError, match="boxes: expected numbers of at most 1073741824"):
        _draw(torch.ones(1, 4, 5, dtype=torch.bool), boxes)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ({"counts": b"d0"}, TypeError, r"masks\[0\]: expected run lengths with size and counts"),
        (torch.ones(4, 5, dtype=torch.bool), TypeError, r"masks\[0\]: expected run lengths with size and counts"),
        ({"size": [5, 4], "counts": b"d0"}, ValueError, r"masks\[0\]: expected \[4, 5\] pixels"),
        ({"size": 20, "counts": b"d0"}, ValueError, r"masks\[0\]: expected \[4, 5\] pixels"),
        ({"size": [4, 5], "counts": b"~"}, ValueError, r"rles\[0\]: counts"),
    ],
)
def test_run_lengths_that_are_none(mask: Any, error: type[Exception], message: str) -> None:
    image, one = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(error, match=message):
        draw_predictions(image, torch.zeros(1, 4), one, None, [mask])


def test_masks_of_other_types_are_refused() -> None:
    image, one = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"masks: expected bool \[1, 4, 5\], got torch.float32"):
        draw_predictions(image, torch.zeros(1, 4), one, None, torch.zeros(1, 4, 5))
