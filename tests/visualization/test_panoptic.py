"""Panoptic overlays: tints, contours, void, where names go, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from condinst.visualization import draw_panoptic
from condinst.visualization.overlay import instance_colour
from condinst.visualization.panoptic import stuff_colour

GREY = 100
NAMES = ("cat", "dog", "sky", "sea")


def _stuff(segment_id: int, label: int) -> dict[str, Any]:
    return {"id": segment_id, "label": label, "isthing": False, "area": 0}


def _thing(segment_id: int, label: int = 0, score: float = 0.9) -> dict[str, Any]:
    return {"id": segment_id, "label": label, "isthing": True, "area": 0, "score": score}


def _draw(ids: Tensor, segments_info: list[dict[str, Any]], names: tuple[str, ...] = NAMES) -> np.ndarray:
    """The overlay [H, W, 3] on grey."""
    image = torch.full((3, *ids.shape), GREY, dtype=torch.uint8)
    picture = draw_panoptic(image, ids, segments_info, names)
    assert picture.mode == "RGB" and picture.size == (ids.shape[1], ids.shape[0])
    assert (image == GREY).all()
    return np.asarray(picture)


def _stripes(height: int, width: int, *ids: int) -> Tensor:
    """Segments side by side, equally wide."""
    columns = torch.tensor(ids, dtype=torch.int32).repeat_interleave(width // len(ids))
    return columns.expand(height, width)


def _text(pixels: np.ndarray) -> np.ndarray:
    """The rows and columns with black letters: (first row, last row, first column, last column)."""
    rows, columns = np.nonzero((pixels == 0).all(axis=2))
    return np.array([rows.min(), rows.max(), columns.min(), columns.max()]) if len(rows) else np.zeros(0)


def test_tints_contours_and_void() -> None:
    pixels = _draw(_stripes(9, 40, 3, 0, 8, 5), [_thing(8), _stuff(3, 2), _thing(5, 1)])
    sky, first, second = (np.array(colour) for colour in (stuff_colour(2), instance_colour(0), instance_colour(1)))
    for column, colour in ((4, sky), (24, first), (34, second)):
        np.testing.assert_allclose(pixels[4, column], (GREY + colour) / 2, atol=1)
    np.testing.assert_array_equal(pixels[:, 10:20], np.full((9, 10, 3), 0.7 * GREY))
    # lines on both sides of a border, but not in void, nor where the image ends
    for column, colour in ((9, sky), (20, first), (29, first), (30, second)):
        np.testing.assert_array_equal(pixels[:, column], np.tile(colour, (9, 1)))
    np.testing.assert_array_equal(pixels[0], pixels[4])
    np.testing.assert_array_equal(pixels[:, 0], pixels[:, 4])


def test_stuff_has_the_colour_of_its_label_and_things_that_of_their_turn() -> None:
    ids = _stripes(9, 40, 1, 2, 3, 4)
    one = _draw(ids, [_stuff(1, 2), _stuff(2, 3), _thing(3), _thing(4)])
    other = _draw(ids, [_thing(4), _thing(3), _stuff(2, 3), _stuff(1, 2)])
    np.testing.assert_array_equal(one[:, :20], other[:, :20])
    np.testing.assert_array_equal(one[4, 24], other[4, 34])
    assert (one[4, 24] != other[4, 24]).any()


def test_thick_contours_follow_the_size() -> None:
    pixels = _draw(_stripes(10, 3000, 1, 2), [_stuff(1, 2), _stuff(2, 3)])
    widths = [int((pixels[5] == colour).all(axis=1).sum()) for colour in (stuff_colour(2), stuff_colour(3))]
    assert widths == [3, 3]


def test_names_lie_in_the_middle_of_their_segments() -> None:
    pixels = _draw(_stripes(200, 400, 0, 1), [_stuff(1, 2)])
    top, bottom, left, right = _text(pixels)
    assert abs(top + bottom - 199) < 8 and abs(left + right - 599) < 8
    assert (pixels[:, :200] == 0.7 * GREY).all()


def test_names_lie_in_bent_segments_not_in_their_middle() -> None:
    ids = torch.full((200, 400), 2, dtype=torch.int32)
    ids[:, 60:340] = 1
    ids[60:140, 100:340] = 2  # a C whose centre of mass is outside of it
    nameless = _draw(ids, [_stuff(1, 3), _stuff(2, 2)], names=("", "", "", ""))
    named = _draw(ids, [_stuff(1, 3), _stuff(2, 2)], names=("", "", "", "ocean"))
    changed = (nameless != named).any(axis=2)
    assert changed.any() and (ids.numpy()[changed] == 1).all()


def test_what_does_not_fit_is_left_out_score_first() -> None:
    def letters(width: int, thing: dict[str, Any], names: tuple[str, ...] = NAMES) -> int:
        ids = torch.zeros(60, 200, dtype=torch.int32)
        ids[:, :width] = 1
        return int((_draw(ids, [thing], names) < 40).all(axis=2).sum())

    nothing_scored = {"id": 1, "label": 0, "isthing": True}
    with_score, name_alone = letters(150, _thing(1)), letters(150, nothing_scored)
    assert with_score > name_alone > 0
    assert letters(40, _thing(1)) == name_alone
    assert letters(10, _thing(1)) == 0
    assert letters(150, _thing(1), ()) == letters(150, _thing(1), ("0",)) > 0  # labels without names are numbers


def test_names_of_large_images_stay_inside() -> None:
    ids = torch.zeros(1500, 2001, dtype=torch.int32)
    ids[-60:, 1500:] = 1  # at the corner, a name high
    ids[300:420, 200:700] = 2
    infos = [_stuff(1, 2), _stuff(2, 3)]
    nameless, named = (_draw(ids, infos, names) for names in (("",) * 4, NAMES))
    changed = (nameless != named).any(axis=2)
    assert changed[-60:, 1500:].any() and changed[300:420, 200:700].any()
    assert (ids.numpy()[changed] > 0).all()


def test_names_at_the_end_of_a_large_image_are_whole() -> None:
    """Places are looked for on every third pixel, and 1283 is no multiple of 3."""
    widths = []
    for width in range(40, 60):
        ids = torch.zeros(60, 1283, dtype=torch.int32)
        ids[:, -width:] = 1
        nameless, named = (_draw(ids, [_stuff(1, 2)], names) for names in (("",) * 4, NAMES))
        columns = (nameless != named).any(axis=(0, 2))
        assert not columns[-2:].any()  # two pixels are no cell
        widths.append(int(columns.sum()))
    assert widths[0] == 0 and len(set(widths[-4:])) == 1 and widths[-1] > 40


def test_names_are_found_for_scattered_ids() -> None:
    """COCO's ids are colours: large numbers in any order."""
    ids = _stripes(60, 400, 7, 2)
    colours = torch.where(ids == 7, 16777215, 65536 * 3 + 5).int()
    np.testing.assert_array_equal(
        _draw(colours, [_stuff(16777215, 2), _thing(65536 * 3 + 5)]), _draw(ids, [_stuff(7, 2), _thing(2)])
    )


def test_segments_without_pixels_and_none_at_all() -> None:
    ids = _stripes(60, 80, 2, 0)
    pixels = _draw(ids, [_thing(1), _thing(2)])
    np.testing.assert_allclose(pixels[1, 1], (GREY + np.array(instance_colour(1))) / 2, atol=1)
    assert (_draw(torch.zeros(5, 6, dtype=torch.int32), []) == 0.7 * GREY).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (1, 3000), (2, 3)])
def test_tiny_images(size: tuple[int, int]) -> None:
    _draw(torch.ones(size, dtype=torch.int32), [_stuff(1, 2)])


def test_same_input_same_picture() -> None:
    ids = torch.randint(0, 4, (50, 60), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    infos = [_thing(1), _thing(2), _stuff(3, 3)]
    np.testing.assert_array_equal(_draw(ids, infos), _draw(ids, infos))


def test_many_segments_of_a_large_image_take_no_pass_each() -> None:
    rows, columns = torch.meshgrid(torch.arange(1500) // 50, torch.arange(2000) // 50, indexing="ij")
    ids = (rows * 40 + columns + 1).int()  # 1200 segments
    start = time.process_time()  # what else runs on the machine does not count
    _draw(ids, [_thing(segment_id) for segment_id in range(1, 1201)])
    # 0.2 s; a pass over the image per segment takes some ten seconds
    assert time.process_time() - start < 4


def test_stuff_colours_carry_black_text_and_differ() -> None:
    colours = [np.array(stuff_colour(label)) for label in range(300)]
    assert min(colour @ [0.299, 0.587, 0.114] for colour in colours) > 100
    assert all(np.abs(a - b).max() > 25 for a, b in zip(colours, colours[1:], strict=False))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": torch.ones(4, 6, dtype=torch.int32)}, r"ids: expected \[4, 5\] as the image, got \[4, 6\]"),
        ({"ids": torch.ones(4, 5)}, "ids: expected integers, got torch.float32"),
        ({"ids": torch.ones(4, 5, dtype=torch.bool)}, "ids: expected integers, got torch.bool"),
        ({"image": torch.zeros(3, 4, 5)}, "image: expected torch.uint8, got torch.float32"),
        ({"ids": torch.full((4, 5), 2)}, "ids: expected 0 and the 1 ids of segments_info, got 2"),
        ({"ids": torch.full((4, 5), -1)}, "ids: expected 0 and the 1 ids of segments_info, got -1"),
        ({"segments_info": [_thing(3)]}, "ids: expected 0 and the 1 ids of segments_info, got 1"),
        ({"segments_info": []}, "ids: expected 0 and the 0 ids of segments_info, got 1"),
        ({"segments_info": [_thing(1), _thing(1)]}, "segments_info: expected each id once, got 2 segments with 1 ids"),
        ({"segments_info": [_thing(0)]}, r"segments_info: expected ids in 1\.\.16777215, got 0"),
        ({"segments_info": [_thing(256**3)]}, r"segments_info: expected ids in 1\.\.16777215, got 16777216"),
        ({"segments_info": [_thing(1, label=4)]}, r"segments_info: expected labels in 0\.\.3, .* got 4 for segment 1"),
        ({"segments_info": [_thing(1, label=-1)], "names": ()}, "expected labels of at least 0, got -1"),
        ({"image": torch.zeros(4, 5, dtype=torch.uint8)}, r"image: expected \[3, H, W\], got \[4, 5\]"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "image": torch.zeros(3, 4, 5, dtype=torch.uint8),
        "ids": torch.ones(4, 5, dtype=torch.int32),
        "segments_info": [_thing(1)],
        "names": NAMES,
    }
    draw_panoptic(**arguments)
    with pytest.raises(ValueError, match=message):
        draw_panoptic(**arguments | changes)
