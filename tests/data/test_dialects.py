"""COCO files as different programs write them."""

from __future__ import annotations

import codecs
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from condinst.data.coco import CocoInstances
from condinst.data.dialects import (
    ANNOTATIONS_LEFT_OUT,
    CATEGORIES_LEFT_OUT,
    ORPHANS,
    OTHER_FLAGS,
    OTHER_ID_TYPES,
    UNNAMED_CATEGORIES,
)
from condinst.data.image_entries import IMAGES_LEFT_OUT, OTHER_PATHS, OTHER_SIZES, SIZES_FROM_FILES
from condinst.data.panoptic import CocoPanoptic

from .synthetic import annotation, polygon, write_panoptic

HEIGHT, WIDTH = 20, 30
BOX = (3, 4, 10, 6)


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """Two images with an object each, whose files are there."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    return {
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in ((1, "a.png"), (2, "b.png"))
        ],
        "annotations": [annotation(i, i, BOX, polygon(BOX), category) for i, category in ((1, 1), (2, 2))],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def open_content(content: Any, folder: Path) -> tuple[CocoInstances, dict[str, int]]:
    """The data set, and the counts of its findings by kind. The content stays as it is."""
    before = copy.deepcopy(content)
    data = CocoInstances.from_content(content, folder, "it.json")
    assert content == before
    return data, {finding.kind: finding.count for finding in data.findings.worst_first()}


def change(*path: Any, value: Any) -> Callable[[Any], None]:
    def apply(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return apply


def drop(*path: Any) -> Callable[[Any], None]:
    def apply(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return apply


def as_objects(content: Any) -> None:
    for key in ("images", "annotations", "categories"):
        content[key] = {
            str(entry["id"]): {name: value for name, value in entry.items() if name != "id"} for entry in content[key]
        }


def with_backslashes(content: Any) -> None:
    for image in content["images"]:
        image["file_name"] = "..\\" + "x\\..\\" + image["file_name"]


def with_urls_only(content: Any) -> None:
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val/{image.pop('file_name')}?x=1"


READ = {
    "nothing unusual": (lambda content: None, {}),
    "other keys": (change("licenses", value=None), {}),
    "objects in place of lists": (as_objects, {}),
    "coco_url only": (with_urls_only, {OTHER_PATHS: 2}),
    "coco_url beside an empty file_name": (
        lambda content: content["images"][0].update(file_name="", coco_url="https://x.org/u/a.png"),
        {OTHER_PATHS: 1},
    ),
    "file_name is a URL": (change("images", 0, "file_name", value="https://x.org/u/a.png"), {OTHER_PATHS: 1}),
    "iscrowd null": (change("annotations", 0, "iscrowd", value=None), {OTHER_FLAGS: 1}),
    "iscrowd false": (change("annotations", 0, "iscrowd", value=False), {}),
    "iscrowd text": (change("annotations", 0, "iscrowd", value="0"), {OTHER_FLAGS: 1}),
    "bbox missing": (drop("annotations", 0, "bbox"), {}),
    "bbox null": (change("annotations", 0, "bbox", value=None), {}),
    "id missing": (drop("annotations", 0, "id"), {}),
    "id twice": (change("annotations", 0, "id", value=2), {}),
    "width as float": (change("images", 0, "width", value=30.0), {OTHER_SIZES: 1}),
    "width as text": (change("images", 0, "width", value="30"), {OTHER_SIZES: 1}),
    "width null": (change("images", 0, "width", value=None), {SIZES_FROM_FILES: 1}),
    "width missing": (drop("images", 0, "width"), {SIZES_FROM_FILES: 1}),
    "width zero": (change("images", 0, "width", value=0), {SIZES_FROM_FILES: 1}),
    "ids of images are text": (
        lambda content: [change("images", i, "id", value=str(i + 1))(content) for i in range(2)],
        {OTHER_ID_TYPES: 2},
    ),
    "image_id is text": (change("annotations", 0, "image_id", value="1"), {OTHER_ID_TYPES: 1}),
    "image_id is a float": (change("annotations", 0, "image_id", value=1.0), {}),
    "category_id is text": (change("annotations", 0, "category_id", value="1"), {OTHER_ID_TYPES: 1}),
    "category 0": (
        lambda content: (
            change("categories", 0, "id", value=0)(content),
            change("annotations", 0, "category_id", value=0)(content),
        ),
        {},
    ),
    "category without a name": (drop("categories", 0, "name"), {UNNAMED_CATEGORIES: 1}),
    "categories missing": (drop("categories"), {UNNAMED_CATEGORIES: 2}),
    "categories empty": (change("categories", value=[]), {UNNAMED_CATEGORIES: 2}),
    "segmentation of pairs": (
        change("annotations", 0, "segmentation", value=[[[3, 4], [13, 4], [13, 10], [3, 10]]]),
        {},
    ),
    "orphans": (
        lambda content: content["annotations"].extend(
            [annotation(9, 77, BOX, polygon(BOX)), annotation(10, 1, BOX, polygon(BOX), 99)]
        ),
        {ORPHANS: 2},
    ),
    "bad annotations": (
        lambda content: content["annotations"].extend([None, {"id": 5}, {**content["annotations"][0], "iscrowd": 7}]),
        {ANNOTATIONS_LEFT_OUT: 3},
    ),
    "bad images with their annotations": (
        lambda content: (
            content["images"].extend([7, {"id": 3, "file_name": 5, "height": 5, "width": 5}]),
            content["annotations"].append(annotation(9, 3, BOX, polygon(BOX))),
        ),
        {IMAGES_LEFT_OUT: 2, ANNOTATIONS_LEFT_OUT: 1},
    ),
    "an image without a size or a file": (
        lambda content: content["images"].append({"id": 3, "file_name": "none.png", "height": None, "width": None}),
        {IMAGES_LEFT_OUT: 1},
    ),
    "bad categories": (lambda content: content["categories"].append({"name": "x"}), {CATEGORIES_LEFT_OUT: 1}),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read(tmp_path: Path, content: dict[str, Any], name: str) -> None:
    """Both objects are there, and what was read in another way, or left out beside them, is counted."""
    apply, expected = READ[name]
    apply(content)
    data, counts = open_content(content, tmp_path)
    assert counts == expected
    for index in range(2):
        image, target = data[index]
        assert image.shape == (3, HEIGHT, WIDTH)
        assert target["boxes"].tolist() == [[3, 4, 13, 10]] and target["labels"].tolist() == [index]
    assert len(data) == 2


def test_backslashes(tmp_path: Path, content: dict[str, Any]) -> None:
    with_backslashes(content)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "in\\name.png").write_bytes((tmp_path / "a.png").read_bytes())
    content["images"].append({**content["images"][0], "id": 3, "file_name": "in\\name.png"})
    content["images"].append({**content["images"][0], "id": 4, "file_name": "C:\\images\\a.png"})
    data, counts = open_content(content, tmp_path / "x")
    assert counts == {OTHER_PATHS: 2} and data.image_path(0) == tmp_path / "x" / "../x/../a.png"
    for index in range(3):
        data.image(index)
    with pytest.raises(
        ValueError, match=r"no such file; the annotation file has a Windows path, expected one relative"
    ):
        data.image(3)


def test_the_examples_show_types(tmp_path: Path, content: dict[str, Any]) -> None:
    content["annotations"][0]["image_id"] = "1"
    content["images"][0]["width"] = "30"
    data, _ = open_content(content, tmp_path)
    examples = [example for finding in data.findings.worst_first() for example in finding.examples]
    assert examples == ["image 1: width: '30' is read as 30", "annotation 1: image_id '1' is read as 1"]


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda content: content["images"].append(content["images"][0]), "images: id that are used twice: 1"),
        (change("images", 1, "id", value="1"), "images: id that are used twice, as a number and as text: 1"),
        (change("images", 1, "id", value=1.0), "images: id that are used twice: 1"),
        (change("categories", 1, "id", value=1), "categories: id that are used twice: 1"),
        (
            lambda content: [
                image.update(coco_url=f"http://x/{image['id']}/0.png", file_name=None) for image in content["images"]
            ],
            "image 1: expected a file_name, as several images have URLs or paths that end in '0.png'",
        ),
        (
            lambda content: [entry.update(category_id=99) for entry in content["annotations"]],
            r"annotation 1: category_id 99 .*; none of \d annotations can be used \(annotations whose .*: \d\)",
        ),
        (change("annotations", value=None), "expected a list under 'annotations'"),
        (change("images", value=[{"id": 1}]), r"images\[0\]: missing file_name of a COCO instances file"),
        (change("categories", value=["cat", "dog"]), r"categories\[0\]: expected an object with id, name"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: dict[str, Any], apply: Any, message: str) -> None:
    apply(content)
    with pytest.raises(ValueError, match=rf"^it\.json: {message}"):
        open_content(content, tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"version": "5", "shapes": []}, "expected a COCO instances file, got a file of LabelMe"),
        ({"a.png123": {"filename": "a.png", "regions": []}}, "got annotations of VGG Image Annotator"),
        ({"_via_img_metadata": {}}, "got a project of VGG Image Annotator"),
        ({"type": "FeatureCollection", "features": []}, "got a GeoJSON file"),
        ([{"image_id": 1, "score": 0.5}], "expected a JSON object with .*; this is a list of results"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, other: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_content(other, tmp_path)


def test_a_byte_order_mark(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "it.json"
    path.write_bytes(codecs.BOM_UTF8 + json.dumps(content).encode())
    assert len(CocoInstances(path, tmp_path)) == 2


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda text: text.encode("utf-16"), "text in UTF-16; save it as UTF-8"),
        (lambda text: text.encode("utf-16-be"), "text in UTF-16 or UTF-32"),
        (lambda text: text.encode("utf-32"), "text in UTF-32"),
        (lambda text: text.replace("cat", "Käfer").encode("latin-1"), "not a JSON file in UTF-8, perhaps in an older"),
        (lambda text: b"", "it is empty"),
        (lambda text: b"\x1f\x8b" + text.encode(), "a gzip archive"),
        (lambda text: b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a pointer of Git LFS"),
        (lambda text: b"<html>", "HTML or XML"),
        (lambda text: f"{text}\n{text}".encode(), "one JSON object per line is another format"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: dict[str, Any], encode: Any, message: str) -> None:
    path = tmp_path / "it.json"
    path.write_bytes(encode(json.dumps(content)))
    with pytest.raises(ValueError, match=rf"it\.json: .*{message}"):
        CocoInstances(path, tmp_path)


def test_panoptic_files(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=3)
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["isthing"] = bool(category["isthing"])
    first, second, third = content["annotations"]
    first["segments_info"][0] |= {"iscrowd": None, "category_id": str(first["segments_info"][0]["category_id"])}
    second["image_id"] = str(second["image_id"])
    del third["segments_info"]
    content["annotations"].append({**first, "image_id": 99})
    content["images"].append({**content["images"][0], "id": 5})
    del content["images"][0]["height"]
    before = copy.deepcopy(content)
    data = CocoPanoptic.from_content(content, tmp_path / "images", path)
    assert content == before and data.image_ids == [0, 1]
    counts = {finding.kind: finding.count for finding in data.findings.worst_first()}
    assert counts == {
        OTHER_ID_TYPES: 2,
        IMAGES_LEFT_OUT: 2,  # that of the third annotation, and the one that has none
        ANNOTATIONS_LEFT_OUT: 1,
        ORPHANS: 1,
        OTHER_FLAGS: 1,
        SIZES_FROM_FILES: 1,
    }
    assert all(len(data[index][1]["labels"]) == 2 for index in range(2))
