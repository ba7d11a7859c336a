"""Train, evaluate, predict: the commands one after the other on the bundled images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.command import run_command
from tests.data.synthetic import write_panoptic

EXAMPLES = Path(__file__).parents[1] / "examples/nuclei"


@pytest.mark.slow
def test_train_evaluate_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations = EXAMPLES / "annotations.json"
    images = sorted(EXAMPLES.glob("*.jpg"))
    assert run_command("data", "check", annotations, "--out", tmp_path / "check", "--samples", 2) == 0
    assert len(list((tmp_path / "check").glob("*.png"))) == 2

    settings = {"steps": len(images) // 2, "batch_size": 2, "num_workers": 0, "warmup_steps": 0, "crop_size": 192}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    out = tmp_path / "run"
    train = ("train", "--data", annotations, "--out", out, "--device", "cpu", "--weights", "condinst_nano")
    assert run_command(*train, *words, "--set", "learning_rate=0.0001") == 0
    with (out / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["images"]) == 2 * settings["steps"] and float(row["loss_mask"]) < 0.5

    capsys.readouterr()
    evaluate = ("evaluate", "--weights", out / "model.safetensors", "--data", annotations, "--max-dets", 500, "--json")
    assert run_command(*evaluate, "--device", "cpu") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["mask"]["AP"] > 0.4  # it began at 0.5, and an epoch does not ruin it

    assert run_command("predict", images[0], "--weights", out / "model.safetensors", "--out", tmp_path / "found") == 0
    assert json.loads((tmp_path / "found/predictions.json").read_text())
    assert (tmp_path / "found" / f"{images[0].stem}.png").exists()


PANOPTIC = """
backbone = "resnet18"
backbone_base_channels = 16
backbone_norm = "BN"
freeze_at = 0
fpn_in_features = ["res2", "res3", "res4", "res5"]
fpn_channels = 64
num_cls_convs = 1
num_box_convs = 1
mask_branch_channels = 16
num_mask_branch_convs = 1
panoptic = true
panoptic_channels = 64
stuff_area_limit = 64
min_size_test = 64
max_size_test = 96
min_size_train = [64]
max_size_train = 96

[training]
steps = 60
batch_size = 4
base_batch_size = 0
optimizer = "adamw"
learning_rate = 0.003
warmup_steps = 5
schedule = "cosine"
validate_every = 20
"""


@pytest.mark.slow
def test_panoptic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A small network learns four synthetic images of two things and two kinds of stuff."""
    truth = write_panoptic(tmp_path / "data")
    images = tmp_path / "data/images"
    config, out = tmp_path / "tiny.toml", tmp_path / "run"
    config.write_text(PANOPTIC)
    assert run_command("data", "check", truth, "--images", images, "--out", tmp_path / "check", "--samples", 2) == 0
    assert len(list((tmp_path / "check").glob("*.png"))) == 2

    data = ("--data", truth, "--images", images)
    validation = ("--validation-data", truth, "--validation-images", images)
    train = ("train", "--config", config, *data, *validation, "--out", out, "--set", "num_workers=0")
    assert run_command(*train, "--device", "cpu") == 0
    with (out / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40", "60"]
    assert float(rows[-1]["PQ"]) > 0.7  # 0.87 when this was written
    assert (out / "best.safetensors").exists() and (out / "curves.png").exists()

    capsys.readouterr()
    weights = ("--weights", out / "model.safetensors", "--device", "cpu")
    assert run_command("evaluate", *weights, *data, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["all"]["PQ"] == pytest.approx(float(rows[-1]["PQ"]), abs=0.02)  # the file is in half precision
    assert [scores[kind]["categories"] for kind in ("things", "stuff")] == [2, 2]

    assert run_command("predict", images, "--task", "panoptic", *weights, "--out", tmp_path / "found") == 0
    assert "8 things and 8 stuff segments" in capsys.readouterr().out
    results = ("--results", tmp_path / "found/panoptic.json")
    assert run_command("evaluate", "--task", "panoptic", *data, *results, "--json") == 0
    assert json.loads(capsys.readouterr().out)["per_class"] == scores["per_class"]

    # with its semantic branch left out, and trained further on the things of the same data
    instances = ("train", *data, "--segments", tmp_path / "data/panoptic", *weights, "--model", "panoptic=false")
    further = ("--set", "steps=2", "--set", "num_workers=0", "--out", tmp_path / "instances")
    assert run_command(*instances, *further) == 0
    assert "loss_panoptic" not in (tmp_path / "instances/log.csv").read_text()
