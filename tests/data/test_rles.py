"""Run lengths against pycocotools and the reference, by the compiled module and by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst import _host
from condinst.data import rles as module
from condinst.data.rles import boxes_of_rles, draw_polygons, encode_masks, mask_pixels, mass_centers, sample_masks
from condinst.data.transforms import Crop, View
from condinst.geometry import boxes_of_masks
from condinst.ops.mask_centers.reference import mask_centers

from .rle_decoder import NumPyDecoder

SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (33, 17), (64, 96), (131, 257)]


@pytest.fixture(params=["_host", "numpy"], autouse=True)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with the compiled module and with a decoder in NumPy."""
    monkeypatch.setattr(module, "_host", _host if request.param == "_host" else NumPyDecoder)


def random_masks(height: int, width: int) -> Tensor:
    """bool [7, height, width]: noise, blobs, one pixel, the border, empty, full."""
    draw = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    blob = (y - height / 3) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 2) ** 2
    border = (y == 0) | (x == 0) | (y == height - 1) | (x == width - 1)
    pixel = np.zeros((height, width), bool)
    pixel[height // 2, width // 2] = True
    kinds = [draw.random((height, width)) < 0.5, draw.random((height, width)) < 0.02, blob, border, pixel]
    return torch.from_numpy(np.stack([*kinds, np.zeros_like(pixel), np.ones_like(pixel)]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_sampling_is_decoding_padding_and_slicing(size: tuple[int, int], stride: int) -> None:
    masks = random_masks(*size)
    padded = torch.zeros(len(masks), 160, 288, dtype=torch.bool)
    codes = encode_masks(masks)
    decoded = torch.from_numpy(coco_mask.decode(codes)).permute(2, 0, 1).bool()
    assert torch.equal(decoded, masks)
    padded[:, : size[0], : size[1]] = decoded
    sampled = sample_masks(codes, stride, (160, 288))
    assert sampled.dtype == torch.bool
    assert torch.equal(sampled, padded[:, stride // 2 :: stride, stride // 2 :: stride])


def test_masks_of_several_sizes_and_kinds_of_text() -> None:
    codes = [encode_masks(random_masks(*size))[0] for size in SIZES]
    as_text = [{"size": code["size"], "counts": code["counts"].decode()} for code in codes]
    sampled = sample_masks(as_text, 4, (160, 288))
    for one, code in zip(sampled, codes, strict=True):
        assert torch.equal(one, sample_masks([code], 4, (160, 288))[0])


def test_a_mask_of_endless_pixels_takes_little_memory() -> None:
    """Nine bytes of run lengths: two pixels in the middle of 2^31 - 1. As pixels the mask would take gigabytes."""
    (code,) = [coco_mask.frPyObjects({"size": [1, 2**31 - 1], "counts": [10**9, 2, 2**31 - 3 - 10**9]}, 1, 2**31 - 1)]
    centers, areas = mass_centers([code])
    assert areas.tolist() == [2] and centers.tolist() == [[float(np.float32(10**9 + 0.5)), 0]]
    columns = np.array([0, 10**9 - 1, 10**9, 10**9 + 1, 10**9 + 2, 2**31 - 2, 2**31])
    pixels = mask_pixels([code], np.array([0, 1]), columns)[0]
    assert pixels.int().tolist() == [[0, 0, 1, 1, 0, 0, 0], [0] * 7]


def test_repeated_rows_and_columns() -> None:
    masks = random_masks(33, 17)
    rows, columns = np.array([0, 0, 5, 32, 40]), np.array([3, 3, 3, 16, 17])
    pixels = mask_pixels(encode_masks(masks), rows, columns)
    assert torch.equal(pixels[:, :4, :4], masks[:, rows[:4]][:, :, columns[:4]])
    assert not pixels[:, 4].any() and not pixels[:, :, 4].any()


@pytest.mark.parametrize("height", [65_534, 65_535, 65_536, 300_001])
def test_tall_masks(height: int) -> None:
    """From 65536 rows on, the compiled module has a table of each second row, or fewer."""
    masks = random_masks(height, 3)
    draw = np.random.default_rng(height)
    rows, columns = np.sort(draw.integers(0, height + 5, 5000)), np.array([0, 2, 3])
    pixels = mask_pixels(encode_masks(masks), rows, columns)
    inside = rows[rows < height]
    assert torch.equal(pixels[:, : len(inside), :2], masks[:, inside][:, :, columns[:2]])
    assert not pixels[:, len(inside) :].any() and not pixels[:, :, 2].any()


@pytest.mark.parametrize("size", SIZES)
def test_centers_are_those_of_the_reference(size: tuple[int, int]) -> None:
    masks = random_masks(*size)
    centers, areas = mass_centers(encode_masks(masks))
    assert centers.dtype == torch.float32 and areas.dtype == torch.int64
    assert torch.equal(areas, masks.sum((1, 2)))
    expected = mask_centers(masks)
    assert torch.equal(centers.isnan(), expected.isnan()) and expected.isnan().any()
    assert torch.equal(centers.nan_to_num(-1), expected.nan_to_num(-1))


def test_boxes() -> None:
    masks = random_masks(33, 17)[:5]
    assert torch.equal(boxes_of_rles(encode_masks(masks)), boxes_of_masks(masks))


def test_no_masks() -> None:
    assert sample_masks([], 4, (32, 64)).shape == (0, 8, 16)
    centers, areas = mass_centers([])
    assert centers.shape == (0, 2) and areas.shape == (0,)
    assert encode_masks(torch.zeros(0, 4, 5, dtype=torch.bool)) == [] and boxes_of_rles([]).shape == (0, 4)


@pytest.mark.parametrize(
    "counts",
    [
        b"",
        b"5",  # five pixels of twelve
        b"<1",  # thirteen
        b"o",  # goes on, and does not
        b"oooooooooooooooo0",
        b"62400000000000000002",  # twelve, and more
        b"O=",  # -1 and 13
        b"222O9",  # the fourth is 2 - 1; more than twelve
        b"4\x004\x004",
        b"4 44",
        b"444p",
        "4\u00e944",
        bytes(range(256)),
    ],
)
def test_damaged_counts(counts: bytes | str) -> None:
    good = encode_masks(torch.ones(1, 3, 4, dtype=torch.bool))
    bad = {"size": [3, 4], "counts": counts}
    for call in (lambda c: sample_masks(c, 1, (3, 4)), mass_centers):
        with pytest.raises(ValueError, match=r"rles\[1\]: counts"):
            call([*good, bad])


def test_random_text_is_read_or_refused() -> None:
    """What both implementations take, they take alike, and nothing else happens."""
    draw = np.random.default_rng(0)
    taken = 0
    for _ in range(3000):
        text = bytes(draw.integers(46, 64 if draw.random() < 0.7 else 114, draw.integers(1, 7)).astype(np.uint8))
        code = {"size": [3, 4], "counts": text}
        try:
            pixels = mask_pixels([code], np.arange(3), np.arange(4))
        except ValueError:
            with pytest.raises(ValueError):
                mass_centers([code])
            continue
        taken += 1
        assert np.array_equal(pixels[0].numpy(), coco_mask.decode(code))
    assert taken > 10


@pytest.mark.parametrize(
    ("rles", "stride", "size", "error"),
    [
        ([{"size": [3, 4], "counts": [12]}], 1, (3, 4), TypeError),
        ([{"size": [3], "counts": b"<"}], 1, (3, 4), ValueError),
        ([{"size": [3, 4, 1], "counts": b"<"}], 1, (3, 4), ValueError),
        ([{"size": 12, "counts": b"<"}], 1, (3, 4), ValueError),
        ([{"size": ["3", 4], "counts": b"<"}], 1, (3, 4), ValueError),
        ([{"size": [3.0, 4], "counts": b"<"}], 1, (3, 4), ValueError),
        ([{"size": [0, 4], "counts": b""}], 1, (3, 4), ValueError),
        ([{"size": [-3, -4], "counts": b"<"}], 1, (3, 4), ValueError),
        ([{"size": [10**30, 1], "counts": b""}], 1, (3, 4), ValueError),
        ([{"size": [2**31, 1], "counts": b""}], 1, (3, 4), ValueError),
        ([{"size": [np.int64(2**62), np.int64(4)], "counts": b""}], 1, (3, 4), ValueError),
        ([{"counts": b"<"}], 1, (3, 4), TypeError),
        ([b"<"], 1, (3, 4), TypeError),
        ([], 1, (3,), ValueError),
        ([], 1, (2**62, 4), ValueError),
        ([], 2**70, (3, 4), ValueError),
        ([{"size": [3, 4], "counts": "<"}], 1, (2, 4), ValueError),
        ([], 4, (30, 32), ValueError),
        ([], 0, (32, 32), ValueError),
    ],
)
def test_wrong_arguments(rles: list[dict[str, Any]], stride: int, size: tuple[int, int], error: type) -> None:
    with pytest.raises(error):
        sample_masks(rles, stride, size)


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([[0.0, 0, 5, 0, 5, float("nan")]], "expected numbers of at most 100000000"),
        ([[float("nan"), 0, 5, 0, 5, 5]], "expected numbers of at most 100000000"),
        ([[0.0, 0, 5, 0, 5, float("inf")]], "expected numbers of at most 100000000"),
        ([], "polygons: expected at least one"),
        ([[]], "expected polygons of three points or more"),
        ([[0.0, 0, 5, 0]], "expected polygons of three points or more"),
        ([[0.0, 0, 5, 0, 5, 5, 1]], "expected polygons of three points or more"),
    ],
)
def test_polygons_that_pycocotools_cannot_draw_are_refused(polygons: list[list[float]], message: str) -> None:
    """From NaN it computes a number of points that no memory holds."""
    with pytest.raises(ValueError, match=message):
        draw_polygons(polygons, 8, 8)
    with pytest.raises(ValueError, match=message):
        View(Crop(0, 0, 8, 8, 8, 8), whole=True).polygons(polygons)
    with pytest.raises(ValueError, match="size: expected a height and a width"):
        draw_polygons([[0.0, 0, 5, 0, 5, 5]], 2**32, 8)


def test_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_host", None)
    with pytest.raises(RuntimeError, match="condinst._host is not built"):
        mass_centers(encode_masks(random_masks(2, 3)))
