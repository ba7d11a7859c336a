from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from condinst.data.coco import CocoInstances
from condinst.data.json_files import read_json
from condinst.data.open import is_panoptic, open_annotated, open_instances, open_panoptic
from condinst.data.panoptic import CocoPanoptic

from .synthetic import write_panoptic, write_rectangles


def write_coco(root: Path, *splits: str) -> None:
    """COCO's layout: annotations/instances_<split>.json beside <split>/."""
    (root / "annotations").mkdir(parents=True)
    for number, split in enumerate(splits):
        made = root / f"made{number}"
        write_rectangles(made, images=number + 1).rename(root / "annotations" / f"instances_{split}.json")
        (made / "images").rename(root / split)


def test_a_json_file(tmp_path: Path) -> None:
    path = write_rectangles(tmp_path, images=2)
    assert open_instances(path).images_dir == tmp_path
    data = open_instances(path, tmp_path / "images")
    assert len(data) == 2 and data[0][0].shape == (3, 64, 64)


def test_cocos_layout(tmp_path: Path) -> None:
    write_coco(tmp_path, "train2017", "val2017")
    assert len(open_instances(tmp_path)) == 1
    data = open_instances(tmp_path, split="val")
    assert len(data) == 2 and data[1][0].shape == (3, 64, 64)
    assert data.images_dir == tmp_path / "val2017"
    moved = tmp_path / "val2017"
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="val2017: no such folder"):
        open_instances(tmp_path, split="val")
    assert open_instances(tmp_path, tmp_path / "elsewhere", "val")[0][0].shape == (3, 64, 64)


def test_several_files_of_one_split(tmp_path: Path) -> None:
    write_coco(tmp_path, "train2014", "train2017", "val", "val2017")
    with pytest.raises(ValueError, match="split: expected one of train2014, train2017"):
        open_instances(tmp_path)
    assert len(open_instances(tmp_path, split="train2017")) == 2
    assert len(open_instances(tmp_path, split="val")) == 3


def test_what_was_looked_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none: no such file or folder"):
        open_instances(tmp_path / "none")
    with pytest.raises(ValueError, match=r"annotations/instances_train\*\.json \(COCO\) or with leftImg8bit"):
        open_instances(tmp_path)
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(ValueError, match="images: expected none"):
        open_instances(tmp_path, tmp_path)


def write_coco_panoptic(root: Path, split: str) -> None:
    """COCO's layout: annotations/panoptic_<split>.json and the folder beside it, and <split>/."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    write_panoptic(root / "made", images=2).rename(root / "annotations" / f"panoptic_{split}.json")
    (root / "made" / "panoptic").rename(root / "annotations" / f"panoptic_{split}")
    (root / "made" / "images").rename(root / split)
    (root / "made").rmdir()


def test_a_panoptic_json_file(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=2)
    data = open_panoptic(path, tmp_path / "images")
    assert len(data[0][1]["labels"]) == 2
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    data = open_panoptic(path, tmp_path / "images", tmp_path / "elsewhere")
    assert len(data[0][1]["labels"]) == 2
    with pytest.raises(ValueError, match=r"annotations\[0\]: missing .* segments_info of a COCO panoptic file"):
        open_panoptic(write_rectangles(tmp_path / "instances"))


def test_cocos_panoptic_layout(tmp_path: Path) -> None:
    write_coco_panoptic(tmp_path, "train2017")
    write_coco_panoptic(tmp_path, "val2017")
    data = open_panoptic(tmp_path, split="val")
    assert data.images_dir == tmp_path / "val2017" and len(data[1][1]["labels"]) == 2
    assert data.segments_dir == tmp_path / "annotations" / "panoptic_val2017"
    assert open_panoptic(tmp_path).images_dir == tmp_path / "train2017"
    with pytest.raises(ValueError, match=r"annotations/panoptic_test\*\.json \(COCO\)"):
        open_panoptic(tmp_path, split="test")
    with pytest.raises(ValueError, match=r"annotations/instances_train\*\.json \(COCO\)"):
        open_instances(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="train2017: no such folder"):
        open_panoptic(tmp_path)
    assert len(open_panoptic(tmp_path, need_images=False).segments(0)[1]) == 4
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(ValueError, match="segments: expected none with Cityscapes"):
        open_panoptic(tmp_path, segments=tmp_path)


def test_a_file_of_the_other_kind_says_what_fits_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"looks like an instances file, for --task instance or .* without stuff$"):
        open_panoptic(write_rectangles(tmp_path / "instances"))
    with pytest.raises(ValueError, match="looks like a panoptic file, for --task panoptic or for a panoptic model"):
        open_instances(write_panoptic(tmp_path / "panoptic"))


def test_either_kind(tmp_path: Path) -> None:
    panoptic = write_panoptic(tmp_path / "panoptic", images=1)
    instances = write_rectangles(tmp_path / "instances", images=1)
    assert is_panoptic(read_json(panoptic)) and not is_panoptic(read_json(instances))
    contents: list[Any] = [[], {}, {"annotations": []}, {"annotations": [1]}, {"annotations": 1}]
    for nothing in contents:
        assert not is_panoptic(nothing)
    data = open_annotated(panoptic, tmp_path / "panoptic" / "images")
    assert type(data) is CocoPanoptic and len(data[0][1]["labels"]) == 2
    segments = tmp_path / "panoptic" / "panoptic"
    assert open_annotated(panoptic, segments=segments, task="panoptic").images_dir == tmp_path / "panoptic"
    data = open_annotated(instances, tmp_path / "instances" / "images")
    assert type(data) is CocoInstances and len(data[0][1]["labels"]) == 2

    write_coco_panoptic(tmp_path / "coco", "train")
    write_coco(tmp_path / "coco2", "train")
    assert type(open_annotated(tmp_path / "coco", task="panoptic")) is CocoPanoptic
    assert type(open_annotated(tmp_path / "coco", segments=segments)) is CocoPanoptic
    assert type(open_annotated(tmp_path / "coco2")) is CocoInstances
    for task in (None, "instance"):
        with pytest.raises(ValueError, match="segments: expected none with the instances"):
            open_annotated(instances, segments=segments, task=task)
    with pytest.raises(ValueError, match="task: expected instance or panoptic, got 'boxes'"):
        open_annotated(panoptic, task="boxes")
