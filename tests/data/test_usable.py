"""What training, evaluation and `data check` say of the same data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from condinst.data.annotated import AnnotatedImages
from condinst.data.check import check_instances
from condinst.data.check_panoptic import check_panoptic
from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.data.plain_objects import plain_objects
from condinst.data.usable import examine, refusal, survey, survey_instances
from condinst.engine.training_data import check_training_data
from tests.models.tiny import make_model

from .synthetic import annotation, polygon, write_json, write_panoptic, write_rectangles

UNUSABLE: dict[str, dict[str, Any]] = {
    "crowds": {"iscrowd": 1},
    "no masks": {"segmentation": None},
    "empty masks": {"segmentation": []},
    "boxes as masks": {"segmentation": [[1, 2, 10, 10]]},
    "outside of the image": {"segmentation": [[100, 100, 120, 100, 120, 120]]},
    "normalised coordinates": {"segmentation": [[0.1, 0.1, 0.8, 0.1, 0.8, 0.8]]},
    "masks of another size": {"segmentation": {"size": [5, 5], "counts": [0, 25]}},
}


def change_all(path: Path, folder: Path, count: int, **change: Any) -> CocoInstances:
    """The data set with the first annotations changed."""
    content = json.loads(path.read_text())
    for entry in content["annotations"][:count]:
        entry |= change
    return CocoInstances(write_json(folder, content), path.parent / "images")


def refuses(data: AnnotatedImages) -> str:
    """What training says when it refuses the data; empty where it does not."""
    config = make_model(classes=data.classes).config
    try:
        check_training_data(data, config)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", UNUSABLE)
def test_nothing_can_be_used(tmp_path: Path, name: str) -> None:
    path = write_rectangles(tmp_path, images=2)
    data = change_all(path, tmp_path, 4, **UNUSABLE[name])
    message = refuses(data)
    assert "instances.json: expected objects with masks, but no object can be used" in message and ": 4" in message
    report = check_instances(data)
    assert report.breaks_training and report.findings[0].examples == [message] and report.num_usable == 0


@pytest.mark.parametrize("name", UNUSABLE)
def test_some_can_be_used(tmp_path: Path, name: str) -> None:
    path = write_rectangles(tmp_path, images=2)
    data = change_all(path, tmp_path, 1, **UNUSABLE[name])
    surveyed = survey_instances(data)
    assert surveyed.num_usable == 3
    if name == "crowds":
        assert refuses(data) == "" and not str(surveyed)
    else:
        with pytest.warns(UserWarning, match=r"instances\.json: 3 of 4 objects can be used; left out: .*: 1 \(annota"):
            assert refuses(data) == ""
    report = check_instances(data)
    assert not report.breaks_training and report.num_usable == 3


def test_images_of_all_objects_are_missing(tmp_path: Path) -> None:
    path = write_rectangles(tmp_path, images=2)
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][:2]
    data = CocoInstances(write_json(tmp_path, content), tmp_path / "images")
    assert refuses(data) == ""
    data.image_path(0).write_bytes(b"no image")
    message = refuses(data)
    assert "no image could be read of the 1 with objects: " in message and "0.png" in message
    assert check_instances(data).findings[0].examples == [message]


def test_panoptic_data_without_things(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=2)
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        for info in entry["segments_info"]:
            info["iscrowd"] = 1
    data = CocoPanoptic.from_content(content, tmp_path / "images", path)
    problem = refusal(data, survey(data))
    assert problem is not None and "no object can be used" in problem and "crowd regions: 5" in problem
    assert check_panoptic(data).findings[0].examples == [problem]


def test_a_box_that_contradicts_its_mask_is_counted(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 100, "width": 100}],
        "annotations": [{**annotation(1, 1, (10, 20, 30, 40), polygon((10, 20, 30, 40))), "bbox": [10, 20, 40, 60]}],
        "categories": [{"id": 1, "name": "a"}],
    }
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    data = CocoInstances.from_content(content, tmp_path, "it")
    with pytest.warns(UserWarning, match=r"1 of 1 objects can be used; read all the same: .*if it is read as \(x1, y1"):
        assert refuses(data) == ""
    assert data.objects(0).boxes.tolist() == [[10, 20, 40, 60]]


def test_plain_objects_have_no_findings(tmp_path: Path) -> None:
    """The quick test says yes only where the slow one finds nothing; and mostly where it does."""
    random = np.random.default_rng(0)
    entries: list[dict[str, Any]] = []
    for number in range(600):
        x, y, w, h = random.integers(-5, 60, 4).tolist()
        outline: list[list[Any]] = polygon((x, y, w, h))
        if number % 3 == 0:
            outline.append(random.uniform(-2, 70, 2 * int(random.integers(1, 5))).tolist())
        boxes: list[Any] = [[x, y, w, h], [x, y, w, h], [x, y, x + w, y + h], None, [1, 2], [x, y, 0, h]]
        entries.append(annotation(number, 1, (0, 0, 0, 0), outline) | {"bbox": boxes[number % 6], "area": 5.0})
    strange: list[Any] = [None, [], {}, "x", [3], [[float("nan")] * 6], [[10**400] * 6], [["1"] * 6], [[True] * 6]]
    entries += [{**entries[1], "segmentation": value} for value in strange]
    entries += [{**entries[1], "bbox": value} for value in (None, [], [1, 2, 3, "4"], [10**400, 1, 1, 1])]
    entries += [{**entries[1], "area": value} for value in (None, "5", float("nan"), 0, 10**400)]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 64}],
        "annotations": entries,
        "categories": [{"id": 1, "name": "a"}],
    }
    data = CocoInstances.from_content(content, tmp_path, "it")
    plain = plain_objects(entries, [(64, 64)] * len(entries))
    quiet = [not examine(data, entry, 64, 64).findings for entry in entries]
    assert all(is_quiet for is_plain, is_quiet in zip(plain, quiet, strict=True) if is_plain)
    assert 0.3 * sum(quiet) < sum(plain) < len(entries) - 18


def test_a_box_of_corners_contradicts_a_small_mask(tmp_path: Path) -> None:
    content = json.loads(write_rectangles(tmp_path, images=1).read_text())
    square = {"segmentation": [[3, 3, 7, 3, 7, 7, 3, 7]], "area": 16}
    content["annotations"] = [{**content["annotations"][0], **square, "bbox": [3, 3, 7, 7]}]
    data = CocoInstances(write_json(tmp_path, content), tmp_path / "images")
    assert not plain_objects(data.annotations_of(0), [data.image_size(0)])[0]
    (finding,) = survey(data).findings
    assert finding.kind == "boxes far from that of their mask" and "read as (x1, y1, x2, y2)" in finding.examples[0]
    content["annotations"][0]["bbox"] = [3, 3, 3, 3]  # the last pixel is not counted
    assert not survey(CocoInstances(write_json(tmp_path, content), tmp_path / "images")).findings
