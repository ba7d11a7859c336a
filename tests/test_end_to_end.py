"""Train, evaluate, predict: the commands one after the other on the bundled images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from condinst import cli

EXAMPLES = Path(__file__).parents[1] / "examples/nuclei"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([str(word) for word in words])
    return int(exit_info.value.code or 0)


@pytest.mark.slow
def test_train_evaluate_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations = EXAMPLES / "annotations.json"
    images = sorted(EXAMPLES.glob("*.jpg"))
    assert run("data", "check", annotations, "--out", tmp_path / "check", "--samples", 2) == 0
    assert len(list((tmp_path / "check").glob("*.png"))) == 2

    settings = {"steps": len(images) // 2, "batch_size": 2, "num_workers": 0, "warmup_steps": 0, "crop_size": 192}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    out = tmp_path / "run"
    train = ("train", "--data", annotations, "--out", out, "--device", "cpu", "--weights", "condinst_nano")
    assert run(*train, *words, "--set", "learning_rate=0.0001") == 0
    with (out / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["images"]) == 2 * settings["steps"] and float(row["loss_mask"]) < 0.5

    capsys.readouterr()
    evaluate = ("evaluate", "--weights", out / "model.safetensors", "--data", annotations, "--max-dets", 500, "--json")
    assert run(*evaluate, "--device", "cpu") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["mask"]["AP"] > 0.4  # it began at 0.5, and an epoch does not ruin it

    assert run("predict", images[0], "--weights", out / "model.safetensors", "--out", tmp_path / "found") == 0
    assert json.loads((tmp_path / "found/predictions.json").read_text())
    assert (tmp_path / "found" / f"{images[0].stem}.png").exists()
