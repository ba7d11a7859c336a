from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from condinst.data.check import NEARLY_BLACK, REFUSED, SHARED_FILES, TURNED, UNREADABLE, DataReport, check_instances
from condinst.data.coco import CocoInstances
from condinst.data.segmentations import BAD_SEGMENTATION
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
        ({"segmentation": [[300, 10, 350, 10, 330, 40]]}, "masks without area"),
        ({"segmentation": []}, "annotations without a mask"),
        ({"segmentation": [[0.1, 0.2, 0.5, 0.2, 0.5, 0.7]]}, "polygons with coordinates of 0 to 1 in place of pixels"),
        ({"bbox": [10, 10, 50, 50]}, "boxes far from that of their mask"),
        ({"bbox": None}, "boxes that are missing or no four numbers"),
        ({"area": None}, "areas that are no positive number of pixels"),
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


def test_what_is_left_out(tmp_path: Path) -> None:
    bad = annotation(2, 1, BOX, {"size": [SIDE, SIDE], "counts": "25"})
    data = write(tmp_path, [annotation(1, 1, BOX, polygon(BOX)), bad])
    Image.new("RGB", (5, 5)).save(tmp_path / "2.png")
    report = check_instances(data)
    assert not report.breaks_training and kinds(report) == {UNREADABLE: 1, BAD_SEGMENTATION: 1}
    assert {finding.effect for finding in report.findings} == {"left out"}
    assert (report.num_objects, report.num_usable) == (2, 1)


def test_what_breaks_training(tmp_path: Path) -> None:
    data = write(tmp_path, [annotation(1, 1, BOX, polygon(BOX))])
    (tmp_path / "1.png").unlink()  # the one with the object
    report = check_instances(data)
    assert report.breaks_training and kinds(report) == {UNREADABLE: 1, REFUSED: 1}
    assert "no image could be read of the 1 with objects: " in report.findings[0].examples[0]
    assert "1.png: no such file" in report.findings[1].examples[0]
    empty = check_instances(write(tmp_path, []))
    assert empty.breaks_training and "expected at least one annotation to train on" in empty.findings[0].examples[0]
    nothing = CocoInstances.from_content({"images": [], "annotations": [], "categories": []}, tmp_path, "memory")
    report = check_instances(nothing)
    assert kinds(report) == {REFUSED: 1}
    assert report.findings[0].examples == ["memory: expected at least one image to train on, got none"]


def test_nearly_black_images(tmp_path: Path) -> None:
    data = write(tmp_path, [annotation(1, 1, BOX, polygon(BOX))])
    pixels = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE), dtype=np.uint16)  # 12 of 16 bits
    Image.fromarray(pixels).save(tmp_path / "1.png")
    report = check_instances(data)
    assert kinds(report) == {NEARLY_BLACK: 1} and not report.breaks_training
    assert "1.png: no value above 16 of 255; data of 10 or 12 bits in 16?" in report.findings[0].examples[0]
    Image.fromarray(pixels * 16).save(tmp_path / "1.png")
    assert not check_instances(data).findings


def test_images_that_exif_turns(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": SIDE, "width": 50}],
        "annotations": [annotation(1, 1, BOX, polygon(BOX))],
        "categories": [{"id": 1, "name": "a"}],
    }
    data = CocoInstances.from_content(content, tmp_path, "memory")
    exif = Image.Exif()
    for orientation, size, kind in ((1, (50, SIDE), None), (3, (50, SIDE), TURNED), (6, (SIDE, 50), None)):
        exif[0x112] = orientation
        Image.new("RGB", size).save(tmp_path / "1.jpg", exif=exif)
        assert list(kinds(check_instances(data))) == [kind] * (kind is not None)
    Image.new("RGB", (50, SIDE)).save(tmp_path / "1.jpg", exif=exif)  # annotated as it lies in the file
    (refused, unreadable) = check_instances(data).findings
    assert refused.breaks_training
    assert unreadable.examples[0].endswith("got 50 x 200; the image is turned by EXIF and the annotations are not")


def test_a_file_of_several_images(tmp_path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "1.png")
    images = [
        {"id": i, "file_name": name, "height": SIDE, "width": SIDE} for i, name in enumerate(("1.png", "./1.png"))
    ]
    content = {
        "images": images,
        "annotations": [annotation(1, 0, BOX, polygon(BOX))],
        "categories": [{"id": 1, "name": "a"}],
    }
    report = check_instances(CocoInstances.from_content(content, tmp_path, "memory"))
    assert kinds(report) == {SHARED_FILES: 1} and report.findings[0].examples[0].endswith("1.png: images 0 and 1")


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
    assert run_command("data", "check", path, *options) == 0  # training leaves the image out
    text = capsys.readouterr().out
    assert f"{UNREADABLE}: 1 (left out)" in text and "3.png" in text and "rectangle" in text
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    assert run_command("data", "check", path, *options) == 1
    assert REFUSED in capsys.readouterr().out


def test_the_command_overwrites_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rectangles(tmp_path, images=2)
    folder = tmp_path / "images"
    (folder / "0.png").rename(folder / "0_1.png")  # what a picture of image 1 would be called
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "1.png"
    content["images"][1]["file_name"] = "0_1.png"
    path.write_text(json.dumps(content))
    before = {file: file.read_bytes() for file in folder.iterdir()}
    for _ in range(2):  # its own pictures are replaced
        assert run_command("data", "check", path, "--images", folder, "--out", folder) == 0
        assert {file: file.read_bytes() for file in before} == before
        assert sorted({file.name for file in folder.iterdir()} - {file.name for file in before}) == [
            "0_1_2.png",
            "1_0_1.png",
        ]
    capsys.readouterr()


def test_the_report_comes_before_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rectangles(tmp_path, images=2)
    (tmp_path / "out").write_text("a file")
    assert run_command("data", "check", path, "--images", tmp_path / "images", "--out", tmp_path / "out") == 0
    output = capsys.readouterr()
    assert "rectangle" in output.out and "0 pictures in" in output.out and output.err.count("not drawn") == 2


def test_names_are_text_on_any_console(tmp_path: Path) -> None:
    path = write_rectangles(tmp_path, images=1)
    content = json.loads(path.read_text())
    content["categories"] += [{"id": 2, "name": ":car:"}, {"id": 3, "name": "\u4eba"}, {"id": 4, "name": "[red]x"}]
    path.write_text(json.dumps(content))
    command = [sys.executable, "-m", "condinst.cli", "data", "check", str(path), "--images", str(tmp_path / "images")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "--samples", "0"], env=environment, capture_output=True, check=True, text=True)
    assert all(name in done.stdout for name in (":car:", "\\u4eba", "[red]x"))


def test_many_objects_on_a_large_image_take_little_memory(tmp_path: Path) -> None:
    """As pixels, the masks would take 2.5 GB."""
    side, count = 2000, 600
    Image.new("RGB", (side, side)).save(tmp_path / "a.png")
    draw = np.random.default_rng(0).integers(0, side - 20, (count, 2)).tolist()
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": side, "width": side}],
        "annotations": [annotation(i, 1, (x, y, 12, 12), polygon((x, y, 12, 12))) for i, (x, y) in enumerate(draw)],
        "categories": [{"id": 1, "name": "a"}],
    }
    command = [sys.executable, "-m", "condinst.cli", "data", "check", str(write_json(tmp_path, content))]
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_module('condinst.cli', run_name='__main__')\n"
        "finally: print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    command[1:3] = ["-c", code, "condinst"]
    done = subprocess.run(
        [*command, "--samples", "1", "--out", str(tmp_path / "out")], capture_output=True, check=True, text=True
    )
    assert "1 pictures in" in done.stdout
    assert int(done.stdout.split()[-1]) < 1 << 20  # KiB, most of which are torch


def test_the_command_names_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("data", "check", tmp_path) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: expected a folder with")
