"""The readers of files on damaged files: a result, or a ValueError or OSError that names the file."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

import condinst
from condinst.data import rles
from condinst.data.annotated import AnnotatedImages
from condinst.data.check import check_instances
from condinst.data.check_panoptic import check_panoptic
from condinst.data.coco import CocoInstances
from condinst.data.images import read_image
from condinst.data.panoptic import CocoPanoptic
from condinst.engine.config import load_training_config
from condinst.models.checkpoints import save_checkpoint
from condinst.models.checkpoints.files import read_state
from tests.data.synthetic import compressed, uncompressed, write_panoptic, write_rectangles
from tests.models.tiny import make_model

from .conftest import Fuzz
from .files import damaged_bytes, damaged_json


def _ends_as_documented(path: Path, read: Callable[[], object]) -> None:
    try:
        read()
    except (ValueError, OSError) as error:
        assert path.name in str(error), f"{type(error).__name__} does not name the file: {error}"


def _read_instances(path: Path) -> None:
    data = CocoInstances(path, path.parent / "images")
    check_instances(data)
    _use(data)


def _read_panoptic(path: Path) -> None:
    data = CocoPanoptic(path, path.parent / "images", path.parent / "panoptic")
    check_panoptic(data)
    _use(data)


def _use(data: AnnotatedImages) -> None:
    """What training and evaluation ask of a data set; a bad annotation is theirs to count."""
    for index in range(len(data)):
        try:
            data.objects(index)
            data.target(index)
            data.image_size(index)
        except (ValueError, OSError):
            continue
    data.aspect_ratios()


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    path = write_rectangles(tmp_path / "data", images=2, side=32)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[2, 3, 22, 3, 22, 23]]
    content["annotations"][1]["segmentation"] = uncompressed((3, 4, 9, 9), 32, 32)
    content["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    return path


def test_instances(instances: Path, fuzz: Fuzz) -> None:
    def check(content: Any) -> None:
        instances.write_text(json.dumps(content))
        _ends_as_documented(instances, lambda: _read_instances(instances))

    fuzz(damaged_json(json.loads(instances.read_text())), check)


def test_instances_as_bytes(instances: Path, fuzz: Fuzz) -> None:
    def check(content: bytes) -> None:
        instances.write_bytes(content)
        _ends_as_documented(instances, lambda: _read_instances(instances))

    fuzz(damaged_bytes(instances.read_bytes()), check)


def test_panoptic(tmp_path: Path, fuzz: Fuzz) -> None:
    path = write_panoptic(tmp_path / "data", images=2, side=32)

    def check(content: Any) -> None:
        path.write_text(json.dumps(content))
        _ends_as_documented(path, lambda: _read_panoptic(path))

    fuzz(damaged_json(json.loads(path.read_text())), check)


def test_panoptic_png(tmp_path: Path, fuzz: Fuzz) -> None:
    path = write_panoptic(tmp_path / "data", images=1, side=32)
    (png,) = (tmp_path / "data/panoptic").iterdir()

    def check(content: bytes) -> None:
        png.write_bytes(content)
        _ends_as_documented(png, lambda: _read_panoptic(path))

    fuzz(damaged_bytes(png.read_bytes()), check)


IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_images(image_format: str, tmp_path: Path, fuzz: Fuzz) -> None:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, image_format)
    path = tmp_path / f"picture.{image_format.lower()}"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _ends_as_documented(path, lambda: read_image(path))

    fuzz(damaged_bytes(buffer.getvalue()), check)


STATE = {"backbone.conv.weight": torch.rand(3, 4), "step": torch.tensor(3), "half": torch.rand(2, 2).half()}


def _as_pth() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": STATE, "iteration": 3, "scale": np.float64(0.5), "array": np.arange(3)}, buffer)
    return buffer.getvalue()


def _as_old_pth() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": STATE}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _as_pkl(protocol: int) -> bytes:
    arrays = {name: value.numpy() for name, value in STATE.items()} | {"scalar": np.float32(2)}
    return pickle.dumps({"model": arrays, "__author__": "x"}, protocol=protocol)


CHECKPOINTS: dict[str, Callable[[], bytes]] = {
    "new.pth": _as_pth,
    "old.pth": _as_old_pth,
    "protocol2.pkl": lambda: _as_pkl(2),
    "protocol5.pkl": lambda: _as_pkl(5),
    "plain.safetensors": lambda: save(STATE),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_weights(name: str, tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / name

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _ends_as_documented(path, lambda: read_state(path))

    fuzz(damaged_bytes(CHECKPOINTS[name]()), check)


def test_the_config_in_our_weights(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(make_model(), path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, weights = json.loads(data[8 : 8 + length]), data[8 + length :]
    config = json.loads(header["__metadata__"]["condinst_config"])

    def check(changed: Any) -> None:
        header["__metadata__"]["condinst_config"] = json.dumps(changed)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + weights)
        _ends_as_documented(path, lambda: condinst.load(path))

    fuzz(damaged_json(config), check)


CONFIG = b"""base = "condinst_nano"
num_classes = 3
class_names = ["a", "b", "c"]
pixel_mean = [1.0, 2.0, 3.0]
score_threshold = 0.5
head_in_features = ["p3", "p4"]

[training]
steps = 30
scale_range = [0.5, 2.0]
learning_rate = 0.1
"""


def test_config_files(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "mine.toml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _ends_as_documented(path, lambda: condinst.load_config(path))
        _ends_as_documented(path, lambda: load_training_config(path))

    fuzz(damaged_bytes(CONFIG), check)


def test_run_lengths(fuzz: Fuzz) -> None:
    """Of masks of any size, and what pycocotools itself would read beyond its memory for."""
    sizes = st.lists(st.sampled_from((-1, 0, 1, 7, 31, 2**16, 2**31 - 1, 2**32, 2**63, 10**30)), max_size=3)
    good = compressed((3, 4, 9, 11), 31, 31)["counts"].encode()
    counts = st.one_of(damaged_bytes(good), st.binary(max_size=40), st.just(good))
    masks = st.lists(st.builds(lambda size, text: {"size": size, "counts": text}, sizes, counts), max_size=3)

    def check(drawn: list[dict[str, Any]]) -> None:
        for call in (lambda: rles.sample_masks(drawn, 4, (64, 64)), lambda: rles.mass_centers(drawn)):
            try:
                call()
            except (TypeError, ValueError) as error:
                assert "rles[" in str(error), f"names no mask: {error!r}"

    fuzz(masks, check)
