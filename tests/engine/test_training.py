from __future__ import annotations

import csv
import dataclasses
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import condinst
from condinst.data.coco import CocoInstances
from condinst.engine.config import TrainingConfig
from condinst.engine.loader import SampleStream, aspect_groups, batch_keys, make_loader
from condinst.engine.optimization import learning_rate_factor, make_average, make_optimizer
from condinst.engine.training import train
from tests.data.augmentation import make_transform
from tests.data.synthetic import write_rectangles
from tests.models.tiny import make_model

SHORT = TrainingConfig(
    steps=6,
    batch_size=2,
    base_batch_size=2,
    optimizer="adamw",
    learning_rate=2e-3,
    schedule="cosine",
    warmup_steps=2,
    clip_gradient_norm=10.0,
    ema_decay=0.9,
    precision="32-true",  # results must not depend on what this CPU has instructions for
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
    return make_model(**{"mask_loss_locations": "random", "mask_loss_max_locations": 20, **overrides})


def read_log(folder: Path, name: str = "log") -> list[dict[str, float]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_losses_fall_when_overfitting(tmp_path: Path, data: CocoInstances) -> None:
    config = dataclasses.replace(SHORT, steps=40, scale_range=(1.0, 1.0), colour_jitter=0.0)
    weights = train(make_student(), config, data, tmp_path / "run", progress=False)
    log = read_log(tmp_path / "run")
    assert [row["step"] for row in log] == list(range(1, 41))
    for name in ("loss_cls", "loss_box", "loss_mask"):
        first, last = (sum(row[name] for row in rows) / 4 for rows in (log[:4], log[-4:]))
        assert last < 0.8 * first, name
    assert all(row["memory_mib"] > 50 and row["seconds_per_step"] > row["data_seconds_per_step"] for row in log)
    assert condinst.load(weights).config.name == "tiny"
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    settings = json.loads((tmp_path / "run" / "training.json").read_text())
    assert settings["training"]["steps"] == 40 and settings["model"]["name"] == "tiny"


class Stop(Exception):
    """Ends a run in the middle."""


class Interrupted(CocoInstances):
    """Raises when the image after the first `limit` ones is asked for."""

    limit = 7  # one for the check before the first step, and three steps of two

    def image(self, index: int) -> torch.Tensor:
        if self.limit == 0:
            raise Stop
        self.limit -= 1
        return super().image(index)


def assert_same_runs(whole: Path, parts: Path) -> None:
    """Bit for bit: weights, average, random numbers, and the losses in the log."""
    contents = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole, parts)]
    for key in ("model", "average"):
        assert all(torch.equal(contents[0][key][name], contents[1][key][name]) for name in contents[0][key])
    assert torch.equal(contents[0]["random"], contents[1]["random"])
    losses = [[(row["step"], row["loss_mask"]) for row in read_log(folder)] for folder in (whole, parts)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_equals_an_uninterrupted_run(tmp_path: Path, data: CocoInstances, workers: int) -> None:
    config = dataclasses.replace(SHORT, num_workers=workers, checkpoint_minutes=0.0)
    student = {"cls_loss_normalizer": "moving_fg"}  # which is not among the weights
    train(make_student(**student), config, data, tmp_path / "whole", progress=False)
    with pytest.raises(Stop):
        train(
            make_student(**student),
            dataclasses.replace(config, num_workers=0),
            Interrupted(data.annotations, data.images_dir),
            tmp_path / "parts",
            progress=False,
        )
    assert read_log(tmp_path / "parts")[-1]["step"] == 3
    torch.manual_seed(123)  # what a new process has is another state
    train(make_student(**student), config, data, tmp_path / "parts", resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")


SCRIPT = """
import dataclasses, logging, sys
from pathlib import Path
import torch
from condinst.data.coco import CocoInstances
from condinst.engine.training import train
from tests.engine.test_training import SHORT, make_student
logging.basicConfig(level=logging.INFO, format="%(message)s")
torch.set_num_threads(1)
folder, steps, resume = Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3
data = CocoInstances(folder / "data" / "instances.json", folder / "data" / "images")
config = dataclasses.replace(SHORT, steps=steps, checkpoint_minutes=0.0, crop_size=0)
train(make_student(), config, data, folder / "parts", resume=resume)
"""


@pytest.fixture
def run(tmp_path: Path, data: CocoInstances) -> Iterator[Any]:
    """Starts a training in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), *map(str, words)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_step(folder: Path, step: int) -> None:
    """Until a run that writes a checkpoint after each step has logged one."""
    deadline = time.monotonic() + 120
    while not ((folder / "log.csv").exists() and any(row["step"] >= step for row in read_log(folder))):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_going_on_after_sigkill_in_the_middle_of_an_epoch(tmp_path: Path, data: CocoInstances, run: Any) -> None:
    process = run(9)
    wait_for_step(tmp_path / "parts", 3)  # of 2 steps an epoch
    process.kill()
    process.wait()
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    assert run(9, "resume").wait(120) == 0
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = dataclasses.replace(SHORT, steps=9, crop_size=0)
        train(make_student(), config, data, tmp_path / "whole", progress=False)
    finally:
        torch.set_num_threads(before)
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves(tmp_path: Path, run: Any, number: signal.Signals) -> None:
    process = run(10_000)
    wait_for_step(tmp_path / "parts", 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    assert "step 2/10000: loss" in errors and "s/step (data" in errors and "left" in errors  # no terminal, so lines
    state = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    assert state["step"] == read_log(tmp_path / "parts")[-1]["step"] < 10_000


def test_a_damaged_image_is_named_replaced_and_counted(
    tmp_path: Path, data: CocoInstances, caplog: pytest.LogCaptureFixture
) -> None:
    data.image_path(1).write_bytes(b"no image")
    data.image_path(2).unlink()
    with caplog.at_level(logging.WARNING):
        train(make_student(), SHORT, data, tmp_path / "run", progress=False)
    skipped = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert sorted(Path(message.split()[1].rstrip(":")).name for message in skipped) == ["1.png", "2.png"]
    last = read_log(tmp_path / "run")[-1]
    assert last["unreadable"] == 2 and last["images"] == 2


def test_a_damaged_annotation_is_named_and_its_image_stays(tmp_path: Path, data: CocoInstances) -> None:
    content = json.loads(data.annotations.read_text())
    content["annotations"][2]["segmentation"]["counts"] = "?"
    data.annotations.write_text(json.dumps(content))
    damaged = CocoInstances(data.annotations, data.images_dir)
    with pytest.warns(UserWarning, match=r"instances\.json: 7 of 8 objects can be used.* \(annotation 3 of image 1:"):
        train(make_student(), dataclasses.replace(SHORT, crop_size=0), damaged, tmp_path / "run", progress=False)
    assert read_log(tmp_path / "run")[-1]["unreadable"] == 0


def test_no_readable_image_is_an_error(tmp_path: Path, data: CocoInstances) -> None:
    for index in range(len(data)):
        data.image_path(index).unlink()
    with pytest.raises(ValueError, match=r"no image could be read.*\.png"):
        train(make_student(), SHORT, data, tmp_path / "run", progress=False)


def test_a_loss_that_is_not_finite_stops_and_names_the_images(tmp_path: Path, data: CocoInstances) -> None:
    model = make_student()
    with torch.no_grad():
        model.head.controller.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"step 1.*loss_mask.*\.png.*\.png"):
        train(model, dataclasses.replace(SHORT, checkpoint_minutes=0.0), data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, data: CocoInstances, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(SHORT, steps=1, checkpoint_minutes=0.0)
    train(make_student(), config, data, tmp_path / "run", progress=False)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"last\.pt: could not be written"):
            train(
                make_student(),
                dataclasses.replace(config, steps=3),
                data,
                tmp_path / "run",
                resume=True,
                progress=False,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "last.pt: could not be written" in caplog.text  # after step 2, which goes on
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob("*.partial"))


def test_a_full_disk_costs_rows_of_the_log_only(
    tmp_path: Path, data: CocoInstances, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(log: Any, row: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("condinst.engine.log.CsvLog.write", full)
    weights = train(make_student(), dataclasses.replace(SHORT, steps=2), data, tmp_path / "run", progress=False)
    assert weights.exists() and caplog.text.count("is lost: [Errno 28]") == 2


def test_mixed_precision_leaves_boxes_alone(
    tmp_path: Path, data: CocoInstances, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[torch.Tensor]] = {}
    original = condinst.CondInst.preprocess
    for precision in ("32-true", "bf16-mixed"):

        def record(model: Any, images: Any, targets: Any, **options: Any) -> Any:
            seen.setdefault(precision, []).extend(target["boxes"] for target in targets)  # noqa: B023
            return original(model, images, targets, **options)

        monkeypatch.setattr(condinst.CondInst, "preprocess", record)
        config = dataclasses.replace(SHORT, steps=2, precision=precision)
        train(make_student(), config, data, tmp_path / precision, progress=False)
    assert len(seen["32-true"]) == 4
    for exact, given in zip(seen["32-true"], seen["bf16-mixed"], strict=True):
        assert given.dtype == torch.float32 and torch.equal(given, exact)


def test_validation_data_is_checked_before_the_first_step(tmp_path: Path, data: CocoInstances) -> None:
    content = json.loads(data.annotations.read_text())
    other = tmp_path / "other.json"

    def validate(**changes: Any) -> None:
        other.write_text(json.dumps(content | changes))
        validation = CocoInstances(other, data.images_dir)
        config = dataclasses.replace(SHORT, steps=1)
        train(make_student(), config, data, tmp_path / "run", validation=validation, progress=False)

    with pytest.raises(ValueError, match=r"it does not know the categories 2 \(disc\)"):
        validate(categories=[*content["categories"], {"id": 2, "name": "disc"}])
    broken = [entry | {"segmentation": {"size": [64, 64], "counts": "?"}} for entry in content["annotations"][:1]]
    with pytest.raises(ValueError, match=r"other\.json: .*no object can be used .*annotation 1 of image 0: "):
        validate(annotations=broken)
    assert not (tmp_path / "run").exists()


def test_copying_from_a_damaged_image_takes_another(
    tmp_path: Path, data: CocoInstances, caplog: pytest.LogCaptureFixture
) -> None:
    data.image_path(1).unlink()
    config = dataclasses.replace(SHORT, copy_paste=1.0)
    with caplog.at_level(logging.WARNING):
        train(make_student(), config, data, tmp_path / "run", progress=False)
    assert read_log(tmp_path / "run")[-1]["unreadable"] == 1  # not the images that wanted to copy from it


def test_validation_keeps_the_best(tmp_path: Path, data: CocoInstances) -> None:
    config = dataclasses.replace(
        SHORT, steps=4, crop_size=0, precision="bf16-mixed", ema_decay=0.0, optimizer="sgd", validate_every=2
    )
    config = dataclasses.replace(config, validation_images=1)
    train(make_student(), config, data, tmp_path / "run", validation=data, progress=False)
    rows = read_log(tmp_path / "run", "validation")
    assert [row["step"] for row in rows] == [2, 4]
    assert all(0 <= row["mask_AP"] <= 1 and 0 <= row["box_AP"] <= 1 for row in rows)
    assert [row["images"] for row in rows] == [1, 4]
    best, last = (condinst.load(tmp_path / "run" / f"{name}.safetensors").state_dict() for name in ("best", "model"))
    assert all(torch.equal(value, last[name]) for name, value in best.items())  # an AP of other images is no measure


def test_parts_of_a_step_give_its_gradient(tmp_path: Path, data: CocoInstances) -> None:
    """Each part has its own normalisers; on images with as many positives that makes no difference."""
    one = CocoInstances(write_rectangles(tmp_path / "one", images=1), tmp_path / "one" / "images")
    config = dataclasses.replace(SHORT, steps=1, crop_size=0, horizontal_flip=0.0, vertical_flip=0.0, transpose=0.0)
    config = dataclasses.replace(config, colour_jitter=0.0, optimizer="sgd", warmup_steps=0)
    student = {"mask_loss_locations": "all", "backbone_norm": "FrozenBN", "mask_branch_norm": "none"}
    results = []
    for accumulate in (1, 2):
        model = make_student(**student)
        config = dataclasses.replace(config, accumulate=accumulate)
        train(model, config, one, tmp_path / f"run{accumulate}", progress=False)
        results.append(model.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_channels_last_changes_rounding_only(tmp_path: Path, data: CocoInstances) -> None:
    losses = []
    for channels_last in (False, True):
        config = dataclasses.replace(SHORT, steps=2, channels_last=channels_last)
        model = make_student()
        train(model, config, data, tmp_path / str(channels_last), progress=False)
        losses.append([row["loss"] for row in read_log(tmp_path / str(channels_last))])
        is_last = model.backbone.state_dict()["layer1.0.conv1.weight"].is_contiguous(memory_format=torch.channels_last)
        assert is_last == channels_last
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_run_is_not_overwritten(tmp_path: Path, data: CocoInstances) -> None:
    config = dataclasses.replace(SHORT, steps=1)
    train(make_student(), config, data, tmp_path / "run", progress=False)
    with pytest.raises(FileExistsError, match=r"last\.pt"):
        train(make_student(), config, data, tmp_path / "run", progress=False)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(make_student(), config, data, tmp_path / "new", resume=True, progress=False)
    with pytest.raises(ValueError, match="another config"):
        train(make_student(nms_threshold=0.5), config, data, tmp_path / "run", resume=True, progress=False)
    (tmp_path / "run" / "last.pt").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"last\.pt: expected a file of weights, got a text file"):
        train(make_student(), config, data, tmp_path / "run", resume=True, progress=False)


def test_data_that_cannot_be_trained_on(tmp_path: Path, data: CocoInstances) -> None:
    with pytest.raises(ValueError, match="num_classes: expected 1"):
        train(make_model(), SHORT, data, tmp_path / "run", progress=False)
    content = json.loads(data.annotations.read_text())
    data.annotations.write_text(json.dumps(content | {"annotations": []}))
    with pytest.raises(ValueError, match=r"instances\.json: expected at least one annotation"):
        train(make_student(), SHORT, CocoInstances(data.annotations, data.images_dir), tmp_path / "run", progress=False)
    data.annotations.write_text(json.dumps(content | {"annotations": [], "images": []}))
    with pytest.raises(ValueError, match=r"instances\.json: expected at least one image"):
        train(make_student(), SHORT, CocoInstances(data.annotations, data.images_dir), tmp_path / "run", progress=False)


def test_samples_depend_on_seed_place_and_image_only(data: CocoInstances) -> None:
    transform = make_transform(crop_size=48, scale_range=(0.5, 2.0), min_size_test=64, transpose=0.5)
    first, second = SampleStream(data, transform, seed=1), SampleStream(data, transform, seed=1)
    images = [first[position, 2].image for position in range(6)]
    for position in reversed(range(6)):
        again, expected = second[position, 2].image, images[position]
        assert again is not None and expected is not None and torch.equal(again, expected)
    assert not all(image is not None and torch.equal(image, images[0]) for image in images if images[0] is not None)


def test_batches_are_whole_epochs_of_one_group() -> None:
    groups = [0, 1, 1, 0, 1, 0, 1, 1]
    stream = batch_keys(groups, 2, seed=3)
    batches = [next(stream) for _ in range(40)]
    assert all(len({groups[index] for _, index in batch}) == 1 and len(batch) == 2 for batch in batches)
    positions = [position for batch in batches for position, _ in batch]
    assert len(set(positions)) == len(positions)
    for epoch in range(8):  # each image once in an epoch
        own = [index for batch in batches for position, index in batch if position // 8 == epoch]
        assert sorted(own) == list(range(8))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_an_image_that_memory_does_not_hold_costs_itself_only(
    data: CocoInstances, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def image(self: CocoInstances, index: int) -> torch.Tensor:
        if index == 2:
            raise error
        return read(self, index)

    read = CocoInstances.image
    monkeypatch.setattr(CocoInstances, "image", image)
    sample = SampleStream(data, make_transform(min_size_train=(64,), max_size_train=64), seed=0)[0, 2]
    assert sample.path == str(data.image_path(3)) and sample.problems == (
        (str(data.image_path(2)), "not enough memory"),
    )


def test_processes_and_parts_share_the_batches(data: CocoInstances) -> None:
    stream = SampleStream(data, make_transform(min_size_train=(64,), max_size_train=64), seed=0)

    def paths(**options: Any) -> list[list[str]]:
        loader = make_loader(stream, groups=aspect_groups(data), batch_size=4, steps=range(1, 3), **options)
        return [[sample.path for sample in batch] for batch in loader]

    whole = paths()
    assert [len(batch) for batch in whole] == [4, 4]
    parts = [paths(accumulate=2, rank=rank, world_size=2) for rank in range(2)]
    assert [parts[0][i] + parts[1][i] for i in range(4)] == [whole[i // 2][2 * (i % 2) :][:2] for i in range(4)]
    with pytest.raises(ValueError, match=r"batch_size: expected a multiple of 3"):
        paths(world_size=3)


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
