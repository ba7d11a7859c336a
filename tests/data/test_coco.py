from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from condinst.data.coco import CocoInstances
from condinst.data.segmentations import BAD_SEGMENTATION, compress, is_plainly_inside
from condinst.data.usable import survey_instances

from .synthetic import annotation, compressed, polygon, uncompressed, write_json, write_rectangles

HEIGHT, WIDTH = 20, 30


def write(folder: Path, annotations: list[dict[str, Any]], categories: tuple[int, ...] = (1,)) -> CocoInstances:
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": annotations,
        "categories": [{"id": category, "name": f"class {category}"} for category in categories],
    }
    return CocoInstances(write_json(folder, content), folder)


@pytest.mark.parametrize(
    "write_mask", [polygon, lambda b: compressed(b, HEIGHT, WIDTH), lambda b: uncompressed(b, HEIGHT, WIDTH)]
)
def test_segmentations_of_all_kinds(tmp_path: Path, write_mask: Any) -> None:
    box = (3, 4, 10, 6)
    image, target = write(tmp_path, [annotation(1, 7, box, write_mask(box))])[0]
    assert image.shape == (3, HEIGHT, WIDTH) and image.dtype == torch.uint8
    expected = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    expected[0, 4:10, 3:13] = True
    assert torch.equal(target["masks"], expected)
    assert target["boxes"].tolist() == [[3, 4, 13, 10]]
    assert target["image_id"] == 7


def test_category_ids_with_gaps_become_labels_in_order_of_id(tmp_path: Path) -> None:
    box = (3, 4, 10, 6)
    entries = [annotation(i, 7, box, polygon(box), category) for i, category in enumerate((90, 3, 17))]
    data = write(tmp_path, entries, categories=(90, 3, 17))
    assert data[0][1]["labels"].tolist() == [2, 0, 1]
    assert data.classes.class_names == ("class 3", "class 17", "class 90")


def test_crowds_and_objects_without_area_are_left_out(tmp_path: Path) -> None:
    box = (3, 4, 10, 6)
    crowd = {**annotation(1, 7, box, polygon(box)), "iscrowd": 1}
    flat = annotation(2, 7, box, polygon((3, 4, 0, 6)))
    outside = annotation(3, 7, (40, 4, 5, 5), polygon((40, 4, 5, 5)))
    empty = annotation(4, 7, box, compressed((0, 0, 0, 0), HEIGHT, WIDTH))
    over_the_edge = annotation(5, 7, (25, 4, 10, 6), polygon((25, 4, 10, 6)))
    target = write(tmp_path, [crowd, flat, outside, empty, over_the_edge])[0][1]
    assert target["boxes"].tolist() == [[25, 4, 30, 10]]


def test_images_without_objects_are_kept(tmp_path: Path) -> None:
    target = write(tmp_path, [])[0][1]
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)
    assert target["masks"].shape == (0, HEIGHT, WIDTH) and target["masks"].dtype == torch.bool


def test_a_window_leaves_out_objects_outside_it(tmp_path: Path) -> None:
    data = write(tmp_path, [annotation(i, 7, b, polygon(b)) for i, b in enumerate([(0, 0, 5, 5), (20, 10, 5, 5)])])
    assert data.objects(0, window=(5, 5, 21, 11)).boxes.tolist() == [[20, 10, 25, 15]]


def test_objects_keep_polygons_and_compress_run_lengths(tmp_path: Path) -> None:
    box = (3, 4, 10, 6)
    kinds = [polygon(box), compressed(box, HEIGHT, WIDTH), uncompressed(box, HEIGHT, WIDTH)]
    over_the_edge = annotation(4, 7, (25, -4, 10, 8), polygon((25, -4, 10, 8)))
    entries = [annotation(i, 7, box, kind) for i, kind in enumerate(kinds)]
    objects = write(tmp_path, [*entries, over_the_edge]).objects(0)
    first, second, third, last = objects.segmentations
    assert first == polygon(box) and last == polygon((25, -4, 10, 8))
    assert isinstance(second, dict) and isinstance(third, dict)
    assert np.array_equal(coco_mask.decode(second), coco_mask.decode(third))
    assert objects.boxes.tolist() == [[3, 4, 13, 10]] * 3 + [[25, 0, 30, 4]]
    assert objects.boxes.dtype == torch.float32 and objects.labels.tolist() == [0] * 4
    assert objects.size == (HEIGHT, WIDTH) and objects.image_id == 7


@pytest.mark.parametrize(
    ("segmentation", "visible"),
    [
        ([], False),
        ([[3, 4, 10, 4, 17, 4]], False),  # a line
        ([[3.1, 4.1, 3.2, 4.1, 3.2, 4.2]], False),  # between the pixels
        ([[40, 4, 50, 4, 50, 10]], False),  # outside, its box is wrong
        ([[3, 4, 9, 4, 9, 9], [40, 4, 50, 4, 50, 10]], True),
        ([[3, 4, 5, 4, 5, 6, 3, 6]], True),
    ],
)
def test_polygons_without_area_are_left_out(tmp_path: Path, segmentation: Any, visible: bool) -> None:
    data = write(tmp_path, [annotation(1, 7, (3, 4, 10, 6), segmentation)])
    assert len(data.objects(0).segmentations) == len(data.target(0)["masks"]) == int(visible)


def test_polygons_that_need_no_drawing_have_pixels() -> None:
    draw = np.random.default_rng(0)
    plain = 0
    for _ in range(5000):
        size = draw.choice([4.0, 8.0, 14.0])
        points = draw.uniform(-1, 8, 2) + draw.uniform(0, size, (int(draw.integers(3, 7)), 2))
        one = points.ravel().tolist()
        if is_plainly_inside(one, HEIGHT, WIDTH):
            plain += 1
            assert coco_mask.area(compress([one], HEIGHT, WIDTH)) > 0
    assert plain > 100


def test_a_data_set_from_memory(tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 10, "width": 25},
            {"id": 2, "file_name": "a.png", "height": 20, "width": 30},
        ],
        "annotations": [],
        "categories": [],
    }
    data = CocoInstances.from_content(content, tmp_path, "somewhere")
    assert data.aspect_ratios().tolist() == [1.5, 2.5] and data.aspect_ratios().dtype == torch.float32
    assert data.image_path(1) == tmp_path / "b.png"
    with pytest.raises(ValueError, match="somewhere: expected a list under 'images'"):
        CocoInstances.from_content({}, tmp_path, "somewhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "expected a JSON object"),
        ('{"images": []}', "'categories'"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', r"images\[0\]: missing file_name"),
        ('{"images": [3], "categories": [], "annotations": []}', r"images\[0\]: expected an object"),
        (
            '{"images": [{"id": 1, "file_name": "a", "height": 0, "width": 3.5}], "categories": [], "annotations": []}',
            "image 1: expected a height and a width",
        ),
        ("[" * 100_000, "not a JSON file that can be read: .* too deep"),
        ('{"a":' * 100_000, "not a JSON file that can be read: .* too deep"),
        ("9" * 5000, "not a JSON file: "),
        ('"\\ud800', "not a JSON file: "),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"bad\.json.*{message}"):
        CocoInstances(path, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "annotation 1: image_id 8"),
        ({"category_id": 5}, "annotation 1: category_id 5"),
    ],
)
def test_a_file_without_any_good_annotation_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    box = (3, 4, 10, 6)
    with pytest.raises(ValueError, match=rf"instances\.json: {message}"):
        write(tmp_path, [{**annotation(1, 7, box, polygon(box)), **change}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": [7]}, r"annotations\[0\]: image_id: expected a whole number or text, got \[7\]"),
        ({"category_id": {}}, r"annotations\[0\]: category_id: expected a whole number or text, got {}"),
        ({"iscrowd": "maybe"}, r"annotations\[0\]: iscrowd: expected 0 or 1, got 'maybe'"),
        ({"image_id": "x" * 1000}, r"annotations\[0\]: image_id: expected a whole number or text, got 'xxx"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    box = (3, 4, 10, 6)
    with pytest.raises(ValueError, match=rf"instances\.json: {message}"):
        write(tmp_path, [{**annotation(1, 7, box, polygon(box)), **change}])


@pytest.mark.parametrize(
    "size",
    [(2**32, 40), (40, 2**32), (2**32, 2**32), (10**30, 1), (10**400, 10**400), (50_000, 50_000), (0, 5), (-5, -5)],
)
@pytest.mark.parametrize("kind", ["polygon", "run lengths"])
def test_a_size_that_run_lengths_cannot_have_is_named(tmp_path: Path, size: tuple[int, int], kind: str) -> None:
    """pycocotools divides by the height in 32 bits."""
    height, width = size
    mask = polygon((3, 4, 10, 6)) if kind == "polygon" else {"size": [height, width], "counts": "0"}
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": height, "width": width}],
        "annotations": [annotation(1, 7, (3, 4, 10, 6), mask)],
        "categories": [{"id": 1, "name": "a"}],
    }
    path = write_json(tmp_path, content)
    with pytest.raises(
        ValueError, match=r"instances\.json: image 7: expected a height and a width of whole pixels, at"
    ):
        CocoInstances(path, tmp_path)


def test_images_larger_than_can_be_read_cost_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay in the data set, as pictures that cannot be read do; only their masks as pixels are refused."""
    monkeypatch.setenv("CONDINST_MAX_PIXELS", "20000")
    box = (3, 4, 10, 6)
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 40_000, "width": 50_000}],
        "annotations": [annotation(1, 7, box, polygon(box))],
        "categories": [{"id": 1, "name": "a"}],
    }
    data = CocoInstances(write_json(tmp_path, content), tmp_path)
    assert data.objects(0).boxes.tolist() == [[3, 4, 13, 10]] and data.aspect_ratios().tolist() == [1.25]
    with pytest.raises(
        ValueError, match=r"instances\.json: image 7: expected at most 20000 pixels in a mask .*CONDINST_MAX_PIXELS"
    ):
        data.target(0)


def test_many_masks_of_a_large_image_as_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mask is below the limit, and takes a few bytes in the file."""
    box = (3, 4, 10, 6)
    data = write(tmp_path, [annotation(i, 7, box, polygon(box)) for i in range(9)])
    monkeypatch.setenv("CONDINST_MAX_PIXELS", str(HEIGHT * WIDTH))
    message = r"instances\.json: image 7: expected at most 600 pixels in a mask and 4800 .* got 9 masks of 20 x 30"
    with pytest.raises(ValueError, match=message):
        data.target(0)
    monkeypatch.setenv("CONDINST_MAX_PIXELS", "700")
    assert data.target(0)["masks"].shape == (9, HEIGHT, WIDTH)


def zigzag(points: int, extent: int) -> list[float]:
    """A polygon of few points far apart."""
    return [value for i in range(points) for value in ((-extent, -extent + i) if i % 2 else (extent, extent - i))]


@pytest.mark.parametrize("polygons", [[zigzag(30, 10**6)], [zigzag(3, 10**6)], [zigzag(3, 400_000)] * 3])
def test_outlines_that_take_much_memory_are_refused(tmp_path: Path, polygons: list[list[float]]) -> None:
    data = write(tmp_path, [annotation(1, 7, (0, 0, 30, 20), polygons)])
    (entry,) = data.annotations_of(0)
    problem = data.mask(entry, HEIGHT, WIDTH).problem
    assert problem is not None and "expected outlines of 4000000 pixels at most" in problem[1]
    assert len(data.objects(0).labels) == 0


def test_an_outline_far_outside_of_the_image_is_drawn(tmp_path: Path) -> None:
    """As for a lake of which the image shows a part: within the limits, masks are as they were."""
    lake = [-5000.0, -5000, 15, -5000, 15, 9000, -5000, 9000]
    target = write(tmp_path, [annotation(1, 7, (0, 0, 15, 20), [lake])]).target(0)
    expected = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    expected[:, :, :15] = True
    assert torch.equal(target["masks"], expected)


@pytest.mark.parametrize(
    "name", ["a\0b", "\ud800.png", "x" * 5000, "a/" * 2050, "a/" + "x" * 256, "ü" * 128, ["a"], None]
)
def test_names_that_no_file_can_have_are_named(tmp_path: Path, name: Any) -> None:
    content = {"images": [{"id": 1, "file_name": name, "height": 5, "width": 5}], "annotations": [], "categories": []}
    with pytest.raises(
        ValueError, match=r"images\[0\]: file_name: expected text that can name a file, of at most 4096 "
    ):
        CocoInstances.from_content(content, tmp_path, "it")


@pytest.mark.parametrize("name", ["a/" * 2047 + "a", "x" * 255, "ü" * 127 + "/" + "ü" * 127])
def test_names_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    content = {"images": [{"id": 1, "file_name": name, "height": 5, "width": 5}], "annotations": [], "categories": []}
    data = CocoInstances.from_content(content, tmp_path, "it")
    with pytest.raises(ValueError):
        data.image(0)


def test_ids_of_several_types(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "height": 5, "width": 5}
    content: dict[str, Any] = {"images": [{**image, "id": "2"}, image], "annotations": [], "categories": []}
    assert CocoInstances.from_content(content, tmp_path, "it").image_ids == [1, "2"]
    content["images"].append({**image, "id": "1"})
    with pytest.raises(ValueError, match="it: images: id that are used twice, as a number and as text: 1"):
        CocoInstances.from_content(content, tmp_path, "it")


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, 1e12]],
        [[1, 2, 3, 4, 5, 10**400]],
        [[float("nan"), 2, 3, 4, 5, 10**400]],
        [[1, 2, 3, 4, 5, float("-inf")]],
        [[1, 2, 3, 4, 5, True]],
        {"size": [HEIGHT, WIDTH], "counts": [10**400]},
        {"size": [10**400, WIDTH], "counts": "0"},
        {"size": [[HEIGHT], WIDTH], "counts": "0"},
        [3],
        {"size": [5, 5], "counts": [25]},
        {"size": [HEIGHT, WIDTH], "counts": [25]},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH + 1, -1]},
        {"size": [HEIGHT, WIDTH], "counts": "25"},
        {"size": [HEIGHT, WIDTH], "counts": "ooooooooo"},
        {"size": [HEIGHT, WIDTH], "counts": None},
        {"size": 7, "counts": "25"},
        3,
        {"counts": "x"},
    ],
)
def test_a_bad_segmentation_costs_its_object_alone(tmp_path: Path, segmentation: Any) -> None:
    box = (3, 4, 10, 6)
    data = write(
        tmp_path, [annotation(1, 7, box, segmentation), annotation(2, 7, (20, 4, 5, 6), polygon((20, 4, 5, 6)))]
    )
    assert data[0][1]["boxes"].tolist() == data.objects(0).boxes.tolist() == [[20, 4, 25, 10]]
    surveyed = survey_instances(data)
    (finding,) = surveyed.findings
    assert (surveyed.num_objects, surveyed.num_usable) == (2, 1)
    assert finding.kind == BAD_SEGMENTATION and finding.effect == "left out" and finding.count == 1
    assert "annotation 1 of image 7: bad segmentation: " in finding.examples[0] and len(str(surveyed)) < 600


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    data = write(tmp_path, [])
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: expected 20 x 30"):
        data[0]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json: no such file"):
        CocoInstances(tmp_path / "none.json", tmp_path)
    data = CocoInstances(write_rectangles(tmp_path), tmp_path / "images")
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises((OSError, ValueError), match=r"2\.png"):
        data[2]
