"""The readers of files on damaged files: a result, or a ValueError or OSError that names the file."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable, Iterator
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
from condinst.data.panoptic_results import read_panoptic_results
from condinst.engine.config import load_training_config
from condinst.engine.training_state import TrainingState, read_checkpoint
from condinst.models.checkpoints import save_checkpoint
from condinst.models.checkpoints.files import read_state
from tests.data.synthetic import compressed, uncompressed, write_panoptic, write_rectangles
from tests.engine.test_training_state import make_state
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
    _use(data, path)


def _read_panoptic(path: Path) -> None:
    data = CocoPanoptic(path, path.parent / "images", path.parent / "panoptic")
    check_panoptic(data)
    folder = path.parent / "panoptic"  # which an empty name in the file stands for
    _use(data, path, folder, *folder.iterdir())


def _use(data: AnnotatedImages, *files: Path) -> None:
    """What training and evaluation ask of a data set; a bad annotation is theirs to count, by one of these names."""
    for index in range(len(data)):
        try:
            data.objects(index)
            data.target(index)
            data.image_size(index)
        except (ValueError, OSError) as error:
            assert any(file.name in str(error) for file in files), f"{type(error).__name__} names no file: {error}"
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


RESULTS = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [{"id": 7, "category_id": 1}, {"id": 9, "category_id": 2}],
        },
        {"image_id": 2, "file_name": "b.png", "segments_info": []},
    ],
}


def test_panoptic_results(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "results.json"
    truth = {
        "images": [{"id": 1 + at, "file_name": f"{'ab'[at]}.jpg", "height": 2, "width": 2} for at in range(2)],
        "annotations": [{"image_id": number, "file_name": "a.png", "segments_info": []} for number in (1, 2)],
        "categories": [{"id": 1, "name": "a", "isthing": 1}],
    }
    data = CocoPanoptic.from_content(truth, tmp_path, tmp_path / "truth.json")

    def check(content: Any) -> None:
        path.write_text(json.dumps(content))
        _ends_as_documented(path, lambda: read_panoptic_results(path, data))

    check(RESULTS)
    fuzz(damaged_json(RESULTS), check)


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


def test_weights_of_a_backbone(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "backbone.safetensors"
    model = make_model()
    content = save(model.backbone.state_dict())

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _ends_as_documented(path, lambda: condinst.load_backbone(model, path))

    path.write_bytes(content)
    condinst.load_backbone(model, path)
    # the beginning has the names and shapes
    fuzz(damaged_bytes(content[:4096]).map(lambda start: start + content[4096:]), check)


@pytest.fixture
def state() -> Iterator[TrainingState]:
    """The state of a training; that of random numbers, which it sets when it is loaded, is put back."""
    with torch.random.fork_rng(devices=[]):
        yield make_state()


def test_checkpoints_of_a_training(state: TrainingState, tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "last.pt"
    state.save(path)
    content = path.read_bytes()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _ends_as_documented(path, lambda: state.load(path))

    fuzz(damaged_bytes(content), check)


def test_values_in_checkpoints_of_a_training(state: TrainingState, tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "last.pt"
    state.save(path)
    content = read_checkpoint(path)
    model = content.pop("model")
    momenta = content["optimizer"]["state"]
    content["optimizer"]["state"] = {key: momenta[key] for key in list(momenta)[:3]}  # few tensors are fast to copy

    def check(content: Any) -> None:
        torch.save({**content, "model": model} if isinstance(content, dict) else content, path)
        _ends_as_documented(path, lambda: state.load(path))

    check(content)
    fuzz(damaged_json(content), check)


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


BASES = ("", "x", "x" * 300, "x" * 300 + ".toml", "absent.toml", "{folder}", "{folder}/.toml", "{folder}/mine.toml")


def test_config_files(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "mine.toml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _ends_as_documented(path, lambda: condinst.load_config(path))
        _ends_as_documented(path, lambda: load_training_config(path))

    bases = st.sampled_from(BASES).map(lambda base: f'base = "{base}"'.replace("{folder}", str(tmp_path)).encode())
    fuzz(st.one_of(damaged_bytes(CONFIG), bases), check)


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
