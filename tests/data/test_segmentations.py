from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from condinst.data.object_fields import mask_box
from condinst.data.segmentations import (
    BAD_PARTS,
    BAD_SEGMENTATION,
    FILLED_HOLES,
    FLOAT_RUNS,
    NO_MASK,
    NO_PIXEL,
    NORMALISED,
    OTHER_LISTS,
    read_mask,
)

from .synthetic import compressed, uncompressed

HEIGHT, WIDTH = 20, 30
POINTS = [[3, 4], [13, 4], [13, 10], [3, 10]]
FLAT = [3, 4, 13, 4, 13, 10, 3, 10]
BOX = (3, 4, 10, 6)


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ([FLAT], None),
        (FLAT, OTHER_LISTS),
        (POINTS, OTHER_LISTS),
        ([POINTS], OTHER_LISTS),
        ([[FLAT]], OTHER_LISTS),
        ([[POINTS]], OTHER_LISTS),
        ([{"x": x, "y": y} for x, y in POINTS], OTHER_LISTS),
        ([[float(number) for number in FLAT]], None),
        ([FLAT, [5, 5]], BAD_PARTS),
        ([[5, 5], FLAT], BAD_PARTS),
        ([FLAT, [3, 4, 10, 6]], BAD_PARTS),
        ([FLAT, [1, 2, 3, 4, 5, 6, float("nan")]], BAD_PARTS),
        ([FLAT, [1, 2, 3, 4, 5, None]], BAD_PARTS),
        ([FLAT, None], BAD_PARTS),
        ([FLAT, [7, 7, 7, 7, 7, 7]], None),  # a point that is drawn, and has no pixel
        (compressed(BOX, HEIGHT, WIDTH), None),
        ([compressed(BOX, HEIGHT, WIDTH)], None),
        (uncompressed(BOX, HEIGHT, WIDTH), None),
        ({**uncompressed(BOX, HEIGHT, WIDTH), "size": [20.0, 30.0]}, None),
        (
            {
                "size": [HEIGHT, WIDTH],
                "counts": [float(run) for run in uncompressed(BOX, HEIGHT, WIDTH)["counts"]],
            },
            FLOAT_RUNS,
        ),
    ],
)
def test_masks_in_many_forms(value: Any, note: str | None) -> None:
    mask = read_mask(value, HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:10, 3:13] = 1
    assert mask.problem is None and np.array_equal(coco_mask.decode(mask.rle(HEIGHT, WIDTH)), expected)
    assert mask_box(mask, HEIGHT, WIDTH) == (3, 4, 13, 10)
    assert [kind for kind, _ in mask.notes] == [note] * (note is not None)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (None, NO_MASK, "None"),
        ([], NO_MASK, "[]"),
        ({}, NO_MASK, "{}"),
        ("", NO_MASK, "''"),
        ([[]], NO_MASK, "[[]]"),
        ([[3, 4, 10, 6]], BAD_SEGMENTATION, "four numbers, as of a box (xywh): [3, 4, 10, 6]"),
        ([3, 4, 10, 6], BAD_SEGMENTATION, "four numbers, as of a box (xywh)"),
        ([[3, 4], [13, 10]], BAD_SEGMENTATION, "three points or more, got 1: [3, 4]"),
        ([[1, 2, 3, 4, 5, 6, 7]], BAD_SEGMENTATION, "x and y in turns, got 7 numbers"),
        ([[1, 2, 3, 4, 5, "6"]], BAD_SEGMENTATION, "expected numbers in a polygon, got '6'"),
        ([[POINTS, POINTS]], BAD_SEGMENTATION, "rings in rings, as for the holes of GeoJSON"),
        ("[[3, 4]]", BAD_SEGMENTATION, "got text: '[[3, 4]]'"),
        ({"exterior": POINTS}, BAD_SEGMENTATION, "got an object of 'exterior'"),
        ({"size": [WIDTH, HEIGHT], "counts": [600]}, BAD_SEGMENTATION, "height and width are swapped"),
        ({"size": [HEIGHT, WIDTH], "counts": [0.5, 599.5]}, BAD_SEGMENTATION, "run lengths are floats"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, BAD_SEGMENTATION, "600 pixels of the mask, got a sum of 10"),
        ({"size": [HEIGHT, WIDTH], "counts": "\u00e9"}, BAD_SEGMENTATION, "got one outside of ASCII"),
        ({"size": [HEIGHT, WIDTH], "counts": "b'abc'"}, BAD_SEGMENTATION, "Python's bytes as text"),
        ([[0.1, 0.2, 0.5, 0.2, 0.5, 0.9]], NORMALISED, "0.1, 0.2"),
        ([[40, 4, 50, 4, 50, 10]], NO_PIXEL, "outside of the image of 30 x 20"),
        ([[3.1, 4.1, 3.2, 4.1, 3.2, 4.2]], NO_PIXEL, "no pixel in it"),
        ({"size": [HEIGHT, WIDTH], "counts": [600]}, NO_PIXEL, "all pixels are background"),
    ],
)
def test_masks_that_cannot_be_used(value: Any, kind: str, words: str) -> None:
    mask = read_mask(value, HEIGHT, WIDTH)
    assert mask.problem is not None and mask.problem[0] == kind and words in mask.problem[1]
    assert mask.is_empty == (kind == NO_PIXEL)


def test_the_corner_of_an_image_is_not_normalised() -> None:
    assert read_mask([[0, 0, 1, 0, 1, 1, 0, 1]], HEIGHT, WIDTH).problem is None


def test_the_box_of_a_polygon_that_leaves_the_image_is_that_of_its_pixels() -> None:
    mask = read_mask([[-10, 5, 10, 5, -10, 15]], HEIGHT, WIDTH)
    assert mask_box(mask, HEIGHT, WIDTH) == tuple(
        float(side) for side in (0, 5, *np.array(coco_mask.toBbox(mask.rle(HEIGHT, WIDTH)))[2:] + (0, 5))
    )


def test_a_ring_inside_of_another_is_noted() -> None:
    outer, inner, beside = [[3, 4], [15, 16], [3, 16]], [[4, 8], [6, 12], [4, 12]], [[16, 4], [20, 8], [16, 8]]
    assert FILLED_HOLES in [kind for kind, _ in read_mask([outer, inner], HEIGHT, WIDTH).notes]
    assert FILLED_HOLES not in [kind for kind, _ in read_mask([outer, beside], HEIGHT, WIDTH).notes]


def test_values_in_messages_are_short() -> None:
    for value in (["two words" * 1000], {f"key {number}": 0 for number in range(1000)}):
        problem = read_mask(value, HEIGHT, WIDTH).problem
        assert problem is not None and len(problem[1]) < 400
