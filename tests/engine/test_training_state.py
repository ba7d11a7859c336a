"""Files that `--resume` is given: those of `TrainingState.save`, and anything else."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.precision import Precision

import condinst
from condinst.engine.config import TrainingConfig
from condinst.engine.optimization import make_average
from condinst.engine.training_state import TrainingState
from condinst.models.checkpoints import read_config
from condinst.models.config import CondInstConfig
from tests.models.tiny import make_model


def make_state() -> TrainingState:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return TrainingState(model, optimizer, None, Precision())


def change(content: dict[str, Any], *names: Any, value: Any) -> dict[str, Any]:
    """The content with another value at the place that the names lead to."""
    place: Any = content
    for name in names[:-1]:
        place = place[name]
    place[names[-1]] = value
    return content


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved, loaded = make_state(), make_state()
    saved.step, saved.best_images, saved.best_score, saved.unreadable = 7, 3, 0.5, ["a.png"]
    for parameter in saved.model.parameters():
        parameter.data.mul_(2)
    saved.save(tmp_path / "last.pt")
    loaded.load(tmp_path / "last.pt")
    assert (loaded.step, loaded.best_images, loaded.best_score, loaded.unreadable) == (7, 3, 0.5, ["a.png"])
    for name, value in saved.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    ours, theirs = (state.optimizer.state_dict() for state in (loaded, saved))
    assert ours["param_groups"] == theirs["param_groups"]
    assert all(torch.equal(ours["state"][i]["momentum_buffer"], theirs["state"][i]["momentum_buffer"]) for i in (0, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda content: [1], "expected the state of a training"),
        (lambda content: {"a": 1}, "expected the state of a training"),
        (lambda content: {key: value for key, value in content.items() if key != "random"}, "expected the state"),
        (lambda content: change(content, "config", value="{"), "is of a model with another config: '{'"),
        (lambda content: change(content, "config", value=["x" * 10**6]), "is of a model with another config"),
        (lambda content: change(content, "average", value={}), "ema_decay: expected as before"),
        (lambda content: change(content, "model", value=[]), "a damaged state"),
        (lambda content: change(content, "model", "head.controller.bias", value=torch.zeros(3)), "a damaged state"),
        (lambda content: change(content, "optimizer", value={}), "a damaged state"),
        (lambda content: change(content, "optimizer", "param_groups", value=[]), "a damaged state"),
        (
            lambda content: change(content, "optimizer", "param_groups", 0, "momentum", value="x"),
            "a damaged state of a training: ValueError: optimizer: expected other types of momentum",
        ),
        (
            lambda content: change(content, "optimizer", "state", 0, "momentum_buffer", value=torch.zeros(3)),
            r"a damaged state of a training: ValueError: optimizer: momentum_buffer: expected \[.*\], got \[3\]",
        ),
        (lambda content: change(content, "step", value="x"), "a damaged state"),
        (lambda content: change(content, "best", value=[1]), "a damaged state"),
        (lambda content: change(content, "moving_num_positives", value=None), "a damaged state"),
        (lambda content: change(content, "unreadable", value=None), "a damaged state"),
        (lambda content: change(content, "random", value=torch.zeros(3)), "a damaged state"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, make: Any, message: str) -> None:
    state = make_state()
    state.save(tmp_path / "last.pt")
    torch.save(make(torch.load(tmp_path / "last.pt", weights_only=True)), tmp_path / "last.pt")
    with pytest.raises(ValueError, match=rf"last\.pt: {message}"):
        state.load(tmp_path / "last.pt")


def test_the_fields_of_another_model_are_named(tmp_path: Path) -> None:
    state = make_state()
    state.save(tmp_path / "last.pt")
    state.model.config = state.model.config.replace(nms_threshold=0.5, nms="mask")
    with pytest.raises(ValueError, match=r"last\.pt: is of .* another config: nms = 'box', nms_threshold = 0\.6$"):
        state.load(tmp_path / "last.pt")


def test_the_fields_of_other_classes_are_named(tmp_path: Path) -> None:
    state = make_state()
    state.save(tmp_path / "last.pt")
    state.model.config = state.model.config.replace(class_names=("bar", "disc", "square"))
    with pytest.raises(ValueError, match=r"another config: class_names = \('disc', 'square', 'bar'\)$"):
        state.load(tmp_path / "last.pt")


def resumed(tmp_path: Path, previous: dict[str, Any], current: dict[str, Any]) -> None:
    """Loads the checkpoint of a run with other settings."""
    saved, loaded = make_state(), make_state()
    saved.settings, loaded.settings = previous, current
    saved.save(tmp_path / "last.pt")
    loaded.load(tmp_path / "last.pt")


def settings(*, data: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    described = {"file": "a.json", "images": 4, "annotations": 12, "digest": "x"}
    return {"training": dataclasses.asdict(TrainingConfig(**training)), "data": described | (data or {})}


@pytest.mark.parametrize(
    ("current", "message"),
    [
        (settings(optimizer="adamw"), "is of a run with another optimizer: optimizer: 'sgd' before, 'adamw' now"),
        (settings(momentum=0.5), "is of a run with another optimizer: momentum: 0.9 before, 0.5 now"),
        (
            settings(data={"images": 5}),
            "data: expected that of the run, 'a.json', got a.json with images: 4 before, 5 now",
        ),
        (settings(data={"digest": "y"}), "data: .* with other names, sizes or ids of images"),
    ],
)
def test_other_optimizers_and_data_are_refused(tmp_path: Path, current: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"last\.pt: {message}"):
        resumed(tmp_path, settings(), current)


def test_other_settings_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    resumed(tmp_path, settings(), settings(steps=5, milestones=(3,), data={"file": "moved/a.json"}))
    assert not caplog.text
    resumed(tmp_path, settings(), settings(batch_size=4, seed=3))
    assert "batch_size: 16 before, 4 now" in caplog.text and "seed: 0 before, 3 now" in caplog.text


def test_settings_of_checkpoints_of_older_versions(tmp_path: Path) -> None:
    state = make_state()
    state.save(tmp_path / "last.pt")
    state.settings = settings()
    state.load(tmp_path / "last.pt")
    recorded = {"training": settings(optimizer="adamw")["training"]}
    (tmp_path / "training.json").write_text(json.dumps(recorded))
    with pytest.raises(ValueError, match="another optimizer: optimizer: 'adamw' before, 'sgd' now"):
        state.load(tmp_path / "last.pt")
    state.settings, state.optimizer = None, torch.optim.AdamW(state.model.parameters())
    with pytest.raises(
        ValueError, match=r"last\.pt: optimizer: is of another one than AdamW: expected its fields .*betas"
    ):
        state.load(tmp_path / "last.pt")


def test_a_folder_with_the_files_of_two_runs(tmp_path: Path) -> None:
    state = make_state()
    state.save(tmp_path / "last.pt")
    model = json.loads(state.model.config.to_json())
    (tmp_path / "training.json").write_text(json.dumps({"model": model}))
    state.load(tmp_path / "last.pt")
    (tmp_path / "training.json").write_text(json.dumps({"model": model | {"nms_threshold": 0.5}}))
    with pytest.raises(
        ValueError, match=r"training\.json: is of another model than last.pt beside it: nms_threshold = 0.5;"
    ):
        state.load(tmp_path / "last.pt")


@pytest.mark.parametrize("averaged", [False, True])
def test_a_checkpoint_as_weights(tmp_path: Path, averaged: bool) -> None:
    state = make_state()
    if averaged:
        state.average = make_average(state.model, 0.9)
        for parameter in state.model.parameters():
            parameter.data.add_(1)
    state.save(tmp_path / "last.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = condinst.load(tmp_path / "last.pt")
    assert loaded.config == state.model.config == read_config(tmp_path / "last.pt")
    for name, value in state.result.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert averaged != torch.equal(loaded.head.cls_logits.bias, state.model.head.cls_logits.bias)  # type: ignore[arg-type]


def test_a_file_from_before_a_field_is_loaded(tmp_path: Path) -> None:
    """Configs are compared by their fields; order, spaces, and a field with its default mean nothing."""
    state = make_state()
    state.step = 7
    state.save(tmp_path / "last.pt")
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    fields = json.loads(content["config"])
    default = CondInstConfig()
    older = {name: value for name, value in reversed(fields.items()) if name != "stuff_area_limit"}
    assert fields["stuff_area_limit"] == default.stuff_area_limit
    torch.save(content | {"config": json.dumps(older, indent=1)}, tmp_path / "last.pt")
    loaded = make_state()
    loaded.load(tmp_path / "last.pt")
    assert loaded.step == 7


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    state = make_state()
    state.save(tmp_path / "last.pt")
    monkeypatch.setattr(state.optimizer, "load_state_dict", fail)
    with pytest.raises(MemoryError, match=r"last\.pt: not enough memory"):
        state.load(tmp_path / "last.pt")
    monkeypatch.setattr("condinst.models.checkpoints.files.read_torch", fail)
    with pytest.raises(MemoryError, match=r"last\.pt: not enough memory"):
        state.load(tmp_path / "last.pt")
