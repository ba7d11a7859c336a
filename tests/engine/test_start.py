"""What `make_trainer` decides: recipe, classes and weights, with the checkpoint read once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import condinst
from condinst.engine.start import DataPaths, make_trainer
from condinst.models.checkpoints import files
from tests.data.synthetic import write_panoptic, write_rectangles
from tests.models.adelaidet import SMALL, adelaidet_state, save
from tests.models.tiny import make_model, tiny_panoptic_config

TRAINING = {"steps": 1, "batch_size": 1, "num_workers": 0, "precision": "32-true"}


@pytest.fixture
def rectangles(tmp_path: Path) -> DataPaths:
    return DataPaths(write_rectangles(tmp_path / "data"), tmp_path / "data" / "images")


@pytest.fixture
def panoptic(tmp_path: Path) -> DataPaths:
    return DataPaths(write_panoptic(tmp_path / "panoptic"), tmp_path / "panoptic" / "images")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The weights files that are read, in order."""
    read_files: list[Path] = []
    read_content = files.read_content

    def record(path: Path) -> Any:
        read_files.append(path)
        return read_content(path)

    monkeypatch.setattr("condinst.models.checkpoints.checkpoint.read_content", record)
    return read_files


def start(data: DataPaths, **options: Any) -> Any:
    """A trainer; its folder stays unwritten until it runs."""
    out = data.data.parent / "run"
    trainer = make_trainer(data, out, training_overrides=TRAINING, progress=False, **options)
    assert not out.exists()
    return trainer


def test_weights_bring_their_config_and_are_read_once(rectangles: DataPaths, tmp_path: Path, reads: list[Path]) -> None:
    model = make_model(nms_threshold=0.45)
    condinst.save_checkpoint(model, tmp_path / "tiny.safetensors")
    trainer = start(rectangles, weights=tmp_path / "tiny.safetensors", model_overrides={"mask_threshold": 0.4})
    assert reads == [tmp_path / "tiny.safetensors"]
    expected = {"num_classes": 1, "class_names": ("rectangle",), "category_ids": (1,), "mask_threshold": 0.4}
    assert trainer.model.config == model.config.replace(**expected)
    assert torch.equal(trainer.model.head.controller.weight, model.head.controller.weight)
    # the recipe of a model of an unknown name
    assert (trainer.config.milestones, trainer.config.steps) == ((60_000, 80_000), 1)


def test_a_foreign_checkpoint_is_read_once(rectangles: DataPaths, tmp_path: Path, reads: list[Path]) -> None:
    model = condinst.CondInst(SMALL)
    path = save(adelaidet_state(model), tmp_path / "model.pth")
    trainer = start(rectangles, weights=path)
    assert reads == [path]
    assert torch.equal(trainer.model.head.controller.weight, model.head.controller.weight)


def test_a_config_chooses_the_recipe(rectangles: DataPaths) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = start(rectangles)  # condinst_nano has no frozen norms
        assert trainer.model.config.name == "condinst_nano" and trainer.config.crop_size == 256
    model = {"backbone": "resnet18", "backbone_base_channels": 8, "fpn_channels": 64}
    with pytest.warns(UserWarning, match="condinst_r50_3x: the backbone has random weights and frozen norms"):
        trainer = start(rectangles, config="condinst_r50_3x", model_overrides=model)
    assert trainer.config.milestones == (210_000, 250_000)


def test_a_config_without_weights_is_repeatable(rectangles: DataPaths) -> None:
    model = {"backbone_base_channels": 8, "backbone_norm": "BN", "freeze_at": 0, "fpn_channels": 64}
    config = rectangles.data.parent / "small.toml"
    config.write_text('base = "condinst_r50_1x"\n' + "".join(f"{k} = {json.dumps(v)}\n" for k, v in model.items()))
    first, second = (start(rectangles, config=config).model.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_classes_of_panoptic_data(panoptic: DataPaths, tmp_path: Path) -> None:
    condinst.save_checkpoint(condinst.CondInst(tiny_panoptic_config()), tmp_path / "panoptic.safetensors")
    config = start(panoptic, weights=tmp_path / "panoptic.safetensors", validation=panoptic).model.config
    assert (config.num_classes, config.num_stuff_classes) == (2, 2)
    assert config.classes.panoptic_category_ids == (1, 6, 4, 9) and len(config.classes.panoptic_names) == 4


def test_an_instance_model_learns_the_things_of_panoptic_data(panoptic: DataPaths, tmp_path: Path) -> None:
    condinst.save_checkpoint(make_model(), tmp_path / "tiny.safetensors")
    segments = DataPaths(panoptic.data, panoptic.images, panoptic.data.with_suffix(""))
    config = start(segments, weights=tmp_path / "tiny.safetensors").model.config
    assert (config.num_classes, config.num_stuff_classes, config.panoptic) == (2, 0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "a", "backbone": "b"}, "weights: expected weights or a backbone, got both"),
        ({"weights": "condinst_r52"}, "source: expected a weights file or one of"),
        ({"config": "condinst_r51"}, "config: expected a .toml file or one of"),
        ({"model_overrides": {"nms_treshold": 0.5}}, "nms_treshold: not a field"),
        ({"backbone": "absent.pth"}, "absent.pth: no such file"),
    ],
)
def test_mistakes(rectangles: DataPaths, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start(rectangles, **options)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stepz": 1}, "stepz: not a field of TrainingConfig; did you mean 'steps'"),
        ({"steps": "many"}, "steps: expected int, got str 'many'"),
        ({"batch_size": 3, "accumulate": 2}, "batch_size: expected a multiple of 1"),
    ],
)
def test_mistakes_in_the_recipe(rectangles: DataPaths, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(rectangles, rectangles.data.parent / "run", training_overrides=overrides)


def test_data_without_things(rectangles: DataPaths) -> None:
    content = json.loads(rectangles.data.read_text())
    rectangles.data.write_text(json.dumps(content | {"annotations": [], "categories": []}))
    with pytest.raises(ValueError, match="expected at least one category of things to train on, got none"):
        start(rectangles)
