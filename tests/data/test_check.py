from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from condinst.data.check import BAD_SEGMENTATION, NO_IMAGES, NO_OBJECTS, UNREADABLE, DataReport, check_instances
from condinst.data.coco import CocoInstances
from tests.command import run_command

from .synthetic import annotation, compressed, polygon, write_json, write_rectangles

SIDE = 200
BOX = (10, 10, 40, 40)


def write(folder: Path, annotations: list[dict[str, Any]], categories: int = 1) -> CocoInstances:
    """A data set of the images 1 and 2, the first of which has all the annotations."""
    content = {
        "images": [
            {"id": 1, "file_name": "1.png", "height": SIDE, "width": SIDE},
            {"id": 2, "file_name": "2.png", "height": 20, "width": 30},
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": f"class {i + 1}"} for i in range(categories)],
    }
    Image.new("RGB", (SIDE, SIDE)).save(folder / "1.png")
    Image.new("RGB", (30, 20)).save(folder / "2.png")
    return CocoInstances(write_json(folder, content), folder)


def kinds(report: DataReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_counts(tmp_path: Path) -> None:
    boxes = [(0, 0, 20, 20), (0, 0, 40, 50), (20, 20, 100, 100), (100, 100, 90, 90)]
    entries = [annotation(i, 1, box, polygon(box), 1 + i % 2) for i, box in enumerate(boxes)]
    crowd = {**annotation(9, 1, BOX, compressed(BOX, SIDE, SIDE)), "iscrowd": 1}
    report = check_instances(write(tmp_path, [*entries, crowd], categories=2))
    assert (report.num_images, report.num_images_without_objects) == (2, 1)
    assert (report.num_objects, report.num_crowds, report.most_objects) == (4, 1, 4)
    assert report.object_sizes == {"small": 1, "medium": 2, "large": 1}
    assert report.image_sizes == {"smallest": (20, 30), "largest": (SIDE, SIDE)}
    assert [category["objects"] for category in report.categories] == [2, 2]
    assert not report.findings and not report.breaks_training


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"bbox": [10, 10, 0, 40]}, "boxes without area"),
        ({"bbox": [-20, 10, 70, 40]}, "boxes that leave the image"),
        ({"bbox": [10, 10, 40, 60]}, "boxes far from that of their mask"),
        ({"segmentation": [[10, 10, 50, 10, 30, 10]]}, "masks without area"),
        ({"segmentation": []}, "masks without area"),
        ({"segmentation": compressed((0, 0, 0, 0), SIDE, SIDE)}, "masks without area"),
    ],
)
def test_suspicions(tmp_path: Path, change: dict[str, Any], kind: str) -> None:
    good = annotation(1, 1, (100, 100, 20, 20), polygon((100, 100, 20, 20)))
    report = check_instances(write(tmp_path, [good, {**annotation(2, 1, BOX, polygon(BOX)), **change}]))
    (finding,) = (finding for finding in report.findings if finding.kind == kind)
    assert finding.count == 1 and "annotation 2 of image 1" in finding.examples[0]
    assert not report.breaks_training


def test_annotations_that_are_there_twice(tmp_path: Path) -> None:
    segmentations = [polygon(BOX), compressed(BOX, SIDE, SIDE)] * 4
    entries = [annotation(i, 1, BOX, segmentation) for i, segmentation in enumerate(segmentations)]
    other_class = annotation(20, 1, BOX, polygon(BOX), category_id=2)
    report = check_instances(write(tmp_path, [*entries, other_class], categories=3))
    assert kinds(report) == {"annotations that are there twice": 7, "categories without objects": 1}
    twice = report.findings[0]
    assert len(twice.examples) == 5 and "annotation 1 of image 1: the same as 0" in twice.examples[0]
    ids = check_instances(write(tmp_path, [annotation(3, 1, BOX, polygon(BOX)), annotation(3, 2, BOX, polygon(BOX))]))
    assert kinds(ids)["ids of annotations that are used twice"] == 1


def test_what_breaks_training(tmp_path: Path) -> None:
    bad = annotation(2, 1, BOX, {"size": [SIDE, SIDE], "counts": "25"})
    data = write(tmp_path, [annotation(1, 1, BOX, polygon(BOX)), bad])
    (tmp_path / "1.png").unlink()
    Image.new("RGB", (5, 5)).save(tmp_path / "2.png")
    report = check_instances(data)
    assert report.breaks_training and kinds(report) == {UNREADABLE: 2, BAD_SEGMENTATION: 1}
    assert "1.png: no such file" in report.findings[0].examples[0]
    assert "2.png: expected 20 x 30" in report.findings[0].examples[1]
    empty = check_instances(write(tmp_path, []))
    assert empty.breaks_training and NO_OBJECTS in kinds(empty)
    nothing = CocoInstances.from_content({"images": [], "annotations": [], "categories": []}, tmp_path, "memory")
    assert kinds(check_instances(nothing)) == {NO_IMAGES: 1, NO_OBJECTS: 1}


def test_one_bad_entry_costs_no_other(tmp_path: Path) -> None:
    """Masks that pycocotools cannot draw are findings; all else is counted."""
    far = [[1e6, 1e6, -1e6, -1e6, 1e6, -1e6]]
    huge = [[10**400, 0, 10, 10, 20, 20]]
    entries = [annotation(i, 1, BOX, mask) for i, mask in enumerate([far, huge, polygon(BOX)])]
    report = check_instances(write(tmp_path, entries))
    assert kinds(report) == {BAD_SEGMENTATION: 2} and report.num_objects == 3 and report.object_sizes["medium"] == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rectangles(tmp_path, images=5)
    options = ["--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert run_command("data", "check", path, *options, "--samples", 3, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["num_objects"] == 10 and content["findings"] == []
    files = sorted((tmp_path / "out").iterdir())
    assert [str(file) for file in files] == sorted(content["pictures"]) and len(files) == 3
    with Image.open(files[0]) as picture:
        assert picture.size == (64, 64) and len(set(picture.getdata())) > 3

    (tmp_path / "images" / "3.png").unlink()
    assert run_command("data", "check", path, *options) == 1
    text = capsys.readouterr().out
    assert f"{UNREADABLE}: 1" in text and "3.png" in text and "rectangle" in text


def test_the_command_names_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("data", "check", tmp_path) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: expected a folder with")
