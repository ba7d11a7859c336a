from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import condinst
from condinst.data.coco import CocoInstances
from condinst.data.transforms import TrainingTransform
from condinst.engine.loader import SampleStream
from condinst.engine.optimization import learning_rate_factor, make_average, make_optimizer
from condinst.engine.training import TrainingConfig, train
from tests.data.synthetic import write_rectangles
from tests.models.tiny import make_model

SHORT = TrainingConfig(
    steps=6,
    batch_size=2,
    optimizer="adamw",
    learning_rate=2e-3,
    schedule="cosine",
    warmup_steps=2,
    clip_gradient_norm=10.0,
    ema_decay=0.9,
    crop_size=64,
    scale_range=(0.8, 1.2),
    vertical_flip=0.5,
    transpose=0.5,
    colour_jitter=0.2,
    num_workers=0,
    log_every=1,
)


@pytest.fixture
def data(tmp_path: Path) -> CocoInstances:
    return CocoInstances(write_rectangles(tmp_path / "data"), tmp_path / "data" / "images")


def make_student(**overrides: Any) -> condinst.CondInst:
    overrides = {"num_classes": 1, "class_names": ("rectangle",), **overrides}
    return make_model(**overrides, mask_loss_locations="random", mask_loss_max_locations=20)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_losses_fall_when_overfitting(tmp_path: Path, data: CocoInstances) -> None:
    config = dataclasses.replace(SHORT, steps=40, scale_range=(1.0, 1.0), colour_jitter=0.0)
    weights = train(make_student(), config, data, tmp_path / "run", progress=False)
    log = read_log(tmp_path / "run")
    assert [row["step"] for row in log] == list(range(1, 41))
    for name in ("loss_cls", "loss_box", "loss_mask"):
        first, last = (sum(row[name] for row in rows) / 4 for rows in (log[:4], log[-4:]))
        assert last < 0.8 * first, name
    assert condinst.load(weights).config.name == "tiny"


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_equals_an_uninterrupted_run(tmp_path: Path, data: CocoInstances, workers: int) -> None:
    config = dataclasses.replace(SHORT, num_workers=workers, checkpoint_minutes=0.0)
    train(make_student(), config, data, tmp_path / "whole", progress=False)

    class Stop(Exception):
        pass

    class Interrupted(CocoInstances):
        """Raises when the sample of the fourth step is asked for."""

        asked = 0

        def image(self, index: int) -> torch.Tensor:
            Interrupted.asked += 1
            if Interrupted.asked > 3 * config.batch_size:
                raise Stop
            return super().image(index)

    with pytest.raises(Stop):
        train(
            make_student(),
            dataclasses.replace(config, num_workers=0),
            Interrupted(data.annotations, data.images_dir),
            tmp_path / "parts",
            progress=False,
        )
    assert read_log(tmp_path / "parts")[-1]["step"] == 3
    torch.manual_seed(123)  # what a new process has is another state
    train(make_student(), config, data, tmp_path / "parts", resume=True, progress=False)

    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    for key in ("model", "average"):
        assert all(torch.equal(whole[key][name], parts[key][name]) for name in whole[key])
    assert torch.equal(whole["random"], parts["random"])
    losses = [[row["loss_mask"] for row in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1]


def test_a_damaged_image_is_named_skipped_and_counted(
    tmp_path: Path, data: CocoInstances, caplog: pytest.LogCaptureFixture
) -> None:
    data.image_path(1).write_bytes(b"no image")
    data.image_path(2).unlink()
    with caplog.at_level(logging.WARNING):
        train(make_student(), SHORT, data, tmp_path / "run", progress=False)
    skipped = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert sorted(Path(message.split()[1].rstrip(":")).name for message in skipped) == ["1.png", "2.png"]
    assert read_log(tmp_path / "run")[-1]["unreadable"] == 2


def test_no_readable_image_is_an_error(tmp_path: Path, data: CocoInstances) -> None:
    for index in range(len(data)):
        data.image_path(index).unlink()
    with pytest.raises(ValueError, match=r"no image could be read.*\.png"):
        train(make_student(), SHORT, data, tmp_path / "run", progress=False)


def test_a_loss_that_is_not_finite_stops_and_names_the_images(tmp_path: Path, data: CocoInstances) -> None:
    model = make_student()
    with torch.no_grad():
        model.head.controller.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"step 0.*loss_mask.*\.png.*\.png"):
        train(model, SHORT, data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_whole_images_go_through_the_resize_of_the_model(tmp_path: Path, data: CocoInstances) -> None:
    config = dataclasses.replace(SHORT, steps=2, crop_size=0, bfloat16=True, ema_decay=0.0, optimizer="sgd")
    train(make_student(), config, data, tmp_path / "run", validation=data, progress=False)
    assert 0 <= read_log(tmp_path / "run")[-1]["validation"]["mask"]["AP"] <= 1


def test_a_run_is_not_overwritten(tmp_path: Path, data: CocoInstances) -> None:
    config = dataclasses.replace(SHORT, steps=1)
    train(make_student(), config, data, tmp_path / "run", progress=False)
    with pytest.raises(FileExistsError, match=r"last\.pt"):
        train(make_student(), config, data, tmp_path / "run", progress=False)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(make_student(), config, data, tmp_path / "new", resume=True, progress=False)
    with pytest.raises(ValueError, match="another config"):
        train(make_student(nms_threshold=0.5), config, data, tmp_path / "run", resume=True, progress=False)


def test_the_number_of_classes_must_fit(tmp_path: Path, data: CocoInstances) -> None:
    with pytest.raises(ValueError, match="num_classes: expected 1"):
        train(make_model(), SHORT, data, tmp_path / "run", progress=False)


def test_samples_depend_on_seed_and_position_only(data: CocoInstances) -> None:
    transform = TrainingTransform(crop_size=48, scale_range=(0.5, 2.0), min_size=64, transpose=0.5)
    first, second = SampleStream(data, transform, seed=1), SampleStream(data, transform, seed=1)
    images = [first[position].image for position in range(6)]
    for position in reversed(range(6)):
        again, expected = second[position].image, images[position]
        assert again is not None and expected is not None and torch.equal(again, expected)
    assert {first[position].path for position in range(4)} == {str(data.image_path(index)) for index in range(4)}


def test_norm_layers_have_no_weight_decay() -> None:
    model = make_student()
    optimizer = make_optimizer(model, "sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    decay_of = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay_of) == sum(p.requires_grad for p in model.parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.ndim == 4:
            assert decay_of[id(parameter)] == 0.5, name
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm | torch.nn.BatchNorm2d):
            assert decay_of[id(module.weight)] == decay_of[id(module.bias)] == 0.0


def test_schedules() -> None:
    steps = [
        learning_rate_factor(step, steps=100, schedule="steps", milestones=(60, 80), warmup_steps=10)
        for step in (0, 5, 10, 59, 60, 80)
    ]
    assert steps == pytest.approx([0.001, 0.5005, 1, 1, 0.1, 0.01])
    cosine = [learning_rate_factor(step, steps=100, schedule="cosine") for step in (0, 50, 100)]
    assert cosine == pytest.approx([1, 0.5, 0])


def test_the_average_follows_weights_and_statistics() -> None:
    model = torch.nn.BatchNorm1d(1)
    average = make_average(model, decay=0.5)
    for value in (1.0, 2.0, 3.0):
        for tensor in (model.weight, model.running_mean):
            assert tensor is not None
            tensor.data.fill_(value)
        average.update_parameters(model)
    # a copy first, then with decays 2/11 and 3/12
    expected = 3 + 0.25 * (2 + (1 - 2) * 2 / 11 - 3)
    averaged = average.module.state_dict()
    assert float(averaged["weight"]) == float(averaged["running_mean"]) == pytest.approx(expected)


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("ema_decay", 1.0), ("num_workers", -1)])
def test_settings_are_checked(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        TrainingConfig(**{field: value})
