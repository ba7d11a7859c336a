"""How a model is trained: fields, tables [training] and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from condinst.engine.config import TrainingConfig, load_training_config
from condinst.models.config_files import config_names, load_config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("ema_decay", 1.0),
        ("num_workers", -1),
        ("num_workers", 1025),
        ("batch_size", 10**9),
        ("accumulate", 10**9),
        ("precision", "fp8"),
        ("optimizer", "lion"),
        ("schedule", "linear"),
        ("copy_paste", 1.5),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", 10**400),
        ("scale_range", (0.5,)),
        ("scale_range", (0.0, 1.0)),
        ("scale_range", (2.0, 1.0)),
        ("crop_width", 32),
        ("horizontal_flip", 1.5),
        ("copy_paste", -0.1),
        ("scale_range", (0.5, float("nan"))),
        ("milestones", (2**70,)),
        ("seed", 2**70),
        ("momentum", -1.0),
        ("colour_jitter", -1.0),
    ],
)
def test_settings_are_checked(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        TrainingConfig(**{field: value})


def test_the_learning_rate_follows_the_batch_size() -> None:
    assert TrainingConfig().scaled_learning_rate == 0.01
    assert TrainingConfig(batch_size=2).scaled_learning_rate == pytest.approx(0.00125)
    assert TrainingConfig(batch_size=2, base_batch_size=0).scaled_learning_rate == 0.01


def test_entries_are_checked() -> None:
    with pytest.raises(TypeError, match="milestones: expected int, got str 'x'"):
        TrainingConfig(milestones=("x",))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", config_names())
def test_every_config_has_a_recipe(name: str) -> None:
    training = load_training_config(name)
    assert training.steps > 0 and training.precision == "auto"
    if "_1x" in name or "_3x" in name:
        assert (training.steps, training.milestones) == (
            (90_000, (60_000, 80_000)) if "_1x" in name else (270_000, (210_000, 250_000))
        )
        assert load_config(name).semantic_loss == name.endswith("_sem")
        assert load_config(name).backbone == {"r50": "resnet50", "r101": "resnet101"}[name.split("_")[1]]


def test_a_table_is_laid_over_that_of_its_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "condinst_r50_3x"\nnum_classes = 2\n[training]\nsteps = 100\nscale_range = [0.5, 2]\n')
    training = load_training_config(path, ["steps=7", "optimizer=adamw", "learning_rate=1", "precision=bf16-mixed"])
    assert (training.steps, training.milestones, training.optimizer) == (7, (210_000, 250_000), "adamw")
    assert training.learning_rate == 1.0 and training.scale_range == (0.5, 2) and training.precision == "bf16-mixed"
    config = load_config(path)
    assert config.num_classes == 2 and config.classes.class_names == () and config.name == "mine"


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("[training]\nstep = 1\n", [], r"\[training\] step: not a field of TrainingConfig; did you mean 'steps'"),
        ("[training]\nsteps = 1.5\n", [], r"\[training\] steps: expected int, got float 1.5"),
        ("training = 3\n", [], "training: expected a table"),
        ("", ["steps"], "--set: expected NAME=VALUE, got 'steps'"),
        ("", ["steps=0"], "--set steps: expected at least 1, got 0"),
        ("[training]\nsteps = 0\n", ["seed=1"], r"mine.toml: \[training\] steps: expected at least 1, got 0"),
        ("", ["steps=many"], "--set steps: expected int, got str 'many'"),
        ("", ["steps=" + "[" * 3000], r"--set steps: expected int, got str '\[\["),
        ("", ["steps=" + "9" * 5000], "--set steps: expected int, got str '999"),
        ("", ["learning_rate=1" + "0" * 400], "--set learning_rate: expected a finite number, got 1000"),
        ("[training]\nmilestones = ['x']\n", [], r"mine.toml: \[training\] milestones: expected int, got str 'x'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, settings: list[str], message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_training_config(path, settings)


def test_a_file_with_a_wrong_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "condinst_nano"\n[training]\nscale_range = [2.0]\n')
    with pytest.raises(ValueError, match=r"mine.toml: \[training\] scale_range: expected 2 numbers"):
        load_training_config(path)
    assert load_training_config(path, ["scale_range=[0.5, 2]"]).scale_range == (0.5, 2)
