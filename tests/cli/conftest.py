"""Weights and images that the tests of the commands share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import condinst
from tests.data.synthetic import write_panoptic
from tests.models.tiny import tiny_panoptic_config


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a tiny model of random weights."""
    config = condinst.load_config("condinst_nano").replace(
        min_size_test=64, max_size_test=64, min_size_train=[64], max_size_train=64, score_threshold=0.01,
        max_detections=3,
    )  # fmt: skip
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    condinst.save_checkpoint(condinst.CondInst(config), path)
    return str(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, name in enumerate(("a.png", "b.jpg")):
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def truth(images: Path) -> Path:
    """COCO annotations of the folder: one object in its first image."""
    path = images.parent / "annotations.json"
    content = {
        "images": [
            {"id": 5, "file_name": "a.png", "height": 30, "width": 40},
            {"id": 6, "file_name": "b.jpg", "height": 30, "width": 40},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [2, 3, 20, 20], "area": 400, "iscrowd": 0,
             "segmentation": [[2, 3, 22, 3, 22, 23, 2, 23]]},
        ],
        "categories": [{"id": 3, "name": "thing"}],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="session")
def panoptic_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a tiny panoptic model of random weights, whose merge takes instances of any score."""
    torch.manual_seed(0)
    model = condinst.CondInst(tiny_panoptic_config(panoptic_score_threshold=0.0))
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("weights") / "tiny_panoptic.safetensors"
    condinst.save_checkpoint(model, path)
    return str(path)


@pytest.fixture
def panoptic_truth(tmp_path: Path) -> Path:
    """Panoptic annotations of two images, whose categories the panoptic model knows by name."""
    path = write_panoptic(tmp_path / "panoptic_data", images=2)
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["name"] = {"rectangle": "square", "ground": "sand"}.get(category["name"], category["name"])
    path.write_text(json.dumps(content))
    return path
