"""`condinst train`: what becomes of its options, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import condinst
from tests.command import error_line, run_command


def test_train(images: Path, truth: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(
        'base = "condinst_nano"\nmin_size_test = 64\nmax_size_test = 64\nmin_size_train = [64]\nmax_size_train = 64\n'
    )
    out = tmp_path / "run"
    words = ["train", "--data", truth, "--images", images, "--config", config, "--out", out, "--device", "cpu"]
    for setting in ("steps=2", "batch_size=1", "num_workers=0", "optimizer=adamw", "learning_rate=1"):
        words += ["--set", setting]
    assert run_command(*words) == 0
    assert condinst.load(out / "model.safetensors").config.classes.class_names == ("thing",)
    settings = json.loads((out / "training.json").read_text())
    assert settings["training"]["optimizer"] == "adamw" and settings["training"]["learning_rate"] == 1.0
    assert settings["training"]["crop_size"] == 256  # the recipe of the base


def test_train_from_weights_for_other_classes(weights: str, images: Path, truth: Path, tmp_path: Path) -> None:
    content = json.loads(truth.read_text())
    content["categories"].append({"id": 9, "name": "other"})
    truth.write_text(json.dumps(content))
    words = ["train", "--data", truth, "--images", images, "--weights", weights, "--device", "cpu", "--out", tmp_path]
    settings = ("steps=1", "batch_size=1", "num_workers=0", "learning_rate=0", "ema_decay=0", "crop_size=0")
    words += [word for setting in settings for word in ("--set", setting)]
    assert run_command(*words, "--model", "nms_threshold=0.7") == 0
    before, after = condinst.load(weights), condinst.load(tmp_path / "model.safetensors")
    assert after.config.classes.class_names == ("thing", "other") and after.config.nms_threshold == 0.7
    assert after.head.cls_logits.out_channels == 2
    for name, value in after.head.controller.state_dict().items():
        torch.testing.assert_close(value, before.head.controller.state_dict()[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "stepz=2"], "--set stepz: not a field of TrainingConfig; did you mean 'steps'"),
        (["--model", "nms_treshold=0.5"], "--model nms_treshold: not a field of CondInstConfig; did you mean"),
        (["--set", "steps"], "--set: expected NAME=VALUE"),
        (["--set", "steps=many"], "--set steps: expected int, got str 'many'"),
        (["--set", "batch_size=0"], "batch_size: expected at least 1, got 0"),
        (["--config", "condinst_r51"], "config: expected"),
        (["--validation-images", "here"], "expected --validation-data with it"),
        (["--weights", "a", "--backbone", "b"], "got both"),
    ],
)
def test_train_refuses(
    words: list[str], message: str, images: Path, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("train", "--data", truth, "--images", images, "--out", images.parent / "run", *words) == 1
    assert message in error_line(capsys)
