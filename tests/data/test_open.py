from __future__ import annotations

from pathlib import Path

import pytest

from condinst.data.open import open_instances

from .synthetic import write_rectangles


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
