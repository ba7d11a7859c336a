from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condinst.data.cityscapes import CLASSES, STUFF, cityscapes_content, cityscapes_panoptic_content
from condinst.data.coco import CocoInstances
from condinst.data.open import open_instances, open_panoptic

HEIGHT, WIDTH = 16, 32


def write_city(root: Path, city: str, frame: str, ids: np.ndarray, split: str = "train") -> Path:
    """One image of Cityscapes and its instanceIds. Returns the file of the ids."""
    image = root / "leftImg8bit" / split / city / f"{city}_{frame}_leftImg8bit.png"
    truth = root / "gtFine" / split / city / f"{city}_{frame}_gtFine_instanceIds.png"
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(image)
    Image.fromarray(ids.astype(np.uint16)).save(truth)
    return truth


def street() -> np.ndarray:
    """Two cars, one in two pieces, a group of persons, a caravan, and stuff."""
    ids = np.full((HEIGHT, WIDTH), 7)
    ids[2:6, 1:5] = 26_000
    ids[2:6, 8:12] = 26_000
    ids[2:6, 5:8] = 26_001
    ids[10:14, 20:30] = 24
    ids[0:2, 0:4] = 29_000
    ids[15, 31] = 33_012
    return ids


def test_instances_groups_and_other_classes(tmp_path: Path) -> None:
    write_city(tmp_path, "ulm", "000000_000019", street())
    write_city(tmp_path, "aachen", "000001_000019", np.full((HEIGHT, WIDTH), 7))
    content = json.loads(json.dumps(cityscapes_content(tmp_path)))
    assert [category["name"] for category in content["categories"]] == list(CLASSES.values())
    assert [image["file_name"].split("/")[2] for image in content["images"]] == ["aachen", "ulm"]
    data = CocoInstances.from_content(content, tmp_path, tmp_path)
    assert data.classes.class_names[2] == "car" and len(data.classes.class_names) == 8
    image, target = data[1]
    assert image.shape == (3, HEIGHT, WIDTH)
    ids = torch.from_numpy(street())
    assert target["labels"].tolist() == [2, 2, 7]
    assert torch.equal(target["masks"], torch.stack([ids == 26_000, ids == 26_001, ids == 33_012]))
    assert target["boxes"].tolist() == [[1, 2, 12, 6], [5, 2, 8, 6], [31, 15, 32, 16]]
    crowds = [annotation for annotation in content["annotations"] if annotation["iscrowd"]]
    assert [(crowd["category_id"], crowd["area"]) for crowd in crowds] == [(24, 40)]
    assert len(data[0][1]["labels"]) == 0


def test_an_instance_that_covers_everything(tmp_path: Path) -> None:
    write_city(tmp_path, "ulm", "0", np.full((HEIGHT, WIDTH), 31_000), split="val")
    data = open_instances(tmp_path, split="val")
    assert data[0][1]["masks"].all() and data.annotations == tmp_path / "gtFine" / "val"


def test_panoptic_segments_groups_and_void(tmp_path: Path) -> None:
    truth = write_city(tmp_path, "ulm", "0", street())
    write_city(tmp_path, "aachen", "1", np.full((HEIGHT, WIDTH), 3))  # out of the region of interest
    content = json.loads(json.dumps(cityscapes_panoptic_content(tmp_path)))
    assert [category["id"] for category in content["categories"]] == sorted([*CLASSES, *STUFF])
    assert len(CLASSES) == 8 and len(STUFF) == 11
    data = open_panoptic(tmp_path)
    assert data.classes.class_names == tuple(CLASSES.values()) and data.classes.stuff_names == tuple(STUFF.values())
    assert data.segments_path(1) == truth and data.annotations == tmp_path / "gtFine" / "train"
    ids, infos = data.segments(1)
    exact = street()
    exact[exact == 29_000] = 0  # a caravan
    assert np.array_equal(ids.numpy(), exact)
    found = [(info["id"], info["category_id"], info["iscrowd"], info["area"]) for info in infos]
    assert found == [
        (7, 7, 0, int((exact == 7).sum())),
        (24, 24, 1, 40),
        (26_000, 26, 0, 32),
        (26_001, 26, 0, 12),
        (33_012, 33, 0, 1),
    ]
    assert content["annotations"][1]["segments_info"][2]["bbox"] == [1, 2, 11, 4]
    target = data[1][1]
    assert target["labels"].tolist() == [2, 2, 7]
    labels = {0: -1, 7: 8, 24: 0, 26_000: 2, 26_001: 2, 33_012: 7}
    assert target["semantic"].tolist() == [[labels[number] for number in row] for row in exact.tolist()]
    objects = data.objects(1)
    instances = open_instances(tmp_path).objects(1)
    assert objects.labels.tolist() == instances.labels.tolist() and torch.equal(objects.boxes, instances.boxes)
    assert data.segments(0)[1] == [] and not data.segments(0)[0].any()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leftImg8bit.val: no images"):
        cityscapes_content(tmp_path, "val")
    truth = write_city(tmp_path, "ulm", "0", street())
    truth.write_bytes(truth.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"ulm_0_gtFine_instanceIds\.png: damaged"):
        cityscapes_content(tmp_path)
    Image.new("RGB", (WIDTH, HEIGHT)).save(truth)
    with pytest.raises(ValueError, match=r"ulm_0_gtFine_instanceIds\.png: expected one number per pixel"):
        cityscapes_content(tmp_path)
    truth.unlink()
    for read in (cityscapes_content, cityscapes_panoptic_content):
        with pytest.raises(ValueError, match=r"ulm_0_gtFine_instanceIds\.png: no such file"):
            read(tmp_path)
