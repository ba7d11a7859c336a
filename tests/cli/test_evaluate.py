"""`condinst evaluate` on instances, and what it takes for either task."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.command import error_line, run_command


def test_evaluate(weights: str, images: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--data", truth, "--images", images, "--weights", weights]
    assert run_command(*words, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"box", "mask", "failed", "timing", "images", "max_detections"} <= set(scores)
    assert 0 <= scores["mask"]["AP"] <= 1 and scores["failed"] == [] and scores["images"] == 2
    assert 0 < scores["timing"]["model"] < scores["timing"]["total"]

    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path / "out"
    assert run_command(*words, "--max-dets", 2, "--out", out) == 0
    text = capsys.readouterr().out
    assert "2 images, at most 2 objects each" in text and "class" not in text
    assert all(word in text for word in ("box", "mask", "AP50", "APs", "AR"))
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "precision_recall.png", "results.json"]
    results = json.loads((out / "results.json").read_text())
    assert 0 < len(results) <= 4 and {row["category_id"] for row in results} == {3}
    assert json.loads((out / "metrics.json").read_text())["curves"]["mask"]["recall"][-1] == 1


def test_evaluate_the_first_images(
    weights: str, images: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--images", images, "--weights", weights, "--limit", 1, "--out", out, "--no-plot"]
    assert run_command("evaluate", "--data", truth, *words) == 0
    assert "1 images, at most" in capsys.readouterr().out
    assert {row["image_id"] for row in json.loads((out / "results.json").read_text())} == {5}
    assert not (out / "precision_recall.png").exists()


def test_evaluate_a_folder(weights: str, images: Path, truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = images.parent / "coco"
    (root / "annotations").mkdir(parents=True)
    images.rename(root / "val2017")
    truth.rename(root / "annotations" / "instances_val2017.json")
    assert run_command("evaluate", "--data", root, "--weights", weights) == 0
    assert "2 images, at most 3 objects each" in capsys.readouterr().out
    assert run_command("evaluate", "--data", root, "--split", "test", "--weights", weights) == 1
    assert "instances_test*.json" in error_line(capsys)


def test_evaluate_a_config(images: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text('base = "condinst_nano"\nmin_size_test = 64\nmax_size_test = 64\nscore_threshold = 0.01\n')
    words = ["evaluate", "--data", truth, "--images", images, "--config", config]
    assert run_command(*words, "--json") == 0
    captured = capsys.readouterr()
    assert f"warning: {config}: no weights come with this config" in captured.err
    assert "classes are matched by their order: 'nucleus' is 'thing'" in captured.err
    assert json.loads(captured.out)["model"] == "tiny"
    assert run_command(*words, "--weights", "condinst_nano", "--json") == 0
    captured = capsys.readouterr()
    assert "no weights" not in captured.err and json.loads(captured.out)["model"] == "tiny"


def test_evaluate_names_what_it_skips(
    weights: str, images: Path, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "b.jpg").unlink()
    assert run_command("evaluate", "--data", truth, "--images", images, "--weights", weights) == 1
    captured = capsys.readouterr()
    assert "1 images were skipped; their objects count as missed" in captured.out
    lines = [line for line in captured.err.splitlines() if not line.startswith("warning: ")]
    assert lines == [f"error: {images / 'b.jpg'}: no such file"]


def test_evaluate_a_model_of_other_classes(
    weights: str, images: Path, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(truth.read_text())
    content["categories"].append({"id": 9, "name": "other"})
    truth.write_text(json.dumps(content))
    assert run_command("evaluate", "--data", truth, "--images", images, "--weights", weights) == 1
    assert "expected a model of 2 classes" in error_line(capsys)


def test_evaluate_a_model_of_more_classes(
    images: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(truth.read_text())
    content["categories"].append({"id": 2, "name": "other"})
    truth.write_text(json.dumps(content))
    config = tmp_path / "tiny.toml"
    config.write_text(
        'base = "condinst_nano"\nmin_size_test = 64\nmax_size_test = 64\nscore_threshold = 0.01\nnum_classes = 3\n'
        'class_names = ["thing", "nothing", "other"]\ncategory_ids = [3, 1, 2]\n'
    )
    assert (
        run_command("evaluate", "--data", truth, "--images", images, "--config", config, "--out", tmp_path / "out") == 0
    )
    text = capsys.readouterr().out
    assert "class" in text and "thing" in text and "other" in text and "nothing" not in text
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["category_id"] for row in results} <= {2, 3}


def test_evaluate_refuses(
    weights: str, images: Path, truth: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", truth, "--images", images, "--weights", weights]
    content = json.loads(truth.read_text())
    content["categories"][0]["name"] = "nucleus"  # the name that the model knows
    truth.write_text(json.dumps(content))
    assert run_command(*words[:3], "--images", images.parent, "--weights", weights) == 1
    assert "images: expected the folder of the images of" in error_line(capsys)
    assert run_command(*words, "--config", "condinst_r51") == 1
    assert "config: expected" in error_line(capsys)
    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else find(name))
        assert run_command(*words, "--out", images.parent / "out") == 1
    assert "pip install 'condinst[plot]'" in error_line(capsys)
    assert not (images.parent / "out").exists()

    content = json.loads(truth.read_text())
    truth.write_text(json.dumps({**content, "annotations": []}))
    assert run_command(*words) == 1
    assert "expected annotations to compare with, got none in 2 images" in error_line(capsys)
    truth.write_text(json.dumps({key: value for key, value in content.items() if key != "annotations"}))
    assert run_command(*words) == 1
    assert "annotations" in error_line(capsys)


def test_evaluate_overwrites_no_input(
    weights: str, panoptic_weights: str, images: Path, truth: Path, panoptic_truth: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    results = truth.with_name("results.json")
    results.write_text(truth.read_text().replace("thing", "nucleus"))  # the name that the model knows
    folder = panoptic_truth.parent
    metrics = folder / "metrics.json"
    metrics.write_text(panoptic_truth.read_text())
    panoptic = ["--images", folder / "images", "--weights", panoptic_weights, "--out", folder]
    segments = ["--segments", folder / "panoptic"]
    before = {path: path.read_bytes() for path in images.parent.rglob("*.*")}
    for words, path in (
        (["--data", results, "--images", images, "--weights", weights, "--no-plot", "--out", images.parent], results),
        (["--data", panoptic_truth, *panoptic], panoptic_truth),
        (["--data", metrics, *segments, *panoptic], folder / "panoptic"),  # the ground truth, too
        (["--data", metrics, *segments, "--results", panoptic_truth, "--out", folder], metrics),
        (["--data", panoptic_truth, *segments, "--results", metrics, "--out", folder], metrics),
    ):
        assert run_command("evaluate", *words) == 1
        assert f"{path}: expected results elsewhere" in error_line(capsys)
    assert {path: path.read_bytes() for path in images.parent.rglob("*.*")} == before


def test_evaluate_the_task_of_a_model(
    weights: str, panoptic_weights: str, images: Path, truth: Path, panoptic_truth: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    panoptic_words = ["evaluate", "--data", panoptic_truth, "--images", panoptic_truth.parent / "images"]
    assert run_command(*panoptic_words, "--weights", weights, "--task", "panoptic") == 1
    assert "task: expected instance, as 'condinst_nano' is no panoptic model, got panoptic" in error_line(capsys)
    words = ["evaluate", "--data", truth, "--images", images]
    assert run_command(*words, "--weights", weights, "--segments", images) == 1
    assert "segments: expected none with --task instance" in error_line(capsys)
    content = json.loads(truth.read_text())
    content["categories"][0]["name"] = "disc"
    truth.write_text(json.dumps(content))
    assert run_command(*words, "--weights", panoptic_weights, "--task", "instance", "--json") == 0
    assert "AP" in json.loads(capsys.readouterr().out)["mask"]
    assert run_command(*panoptic_words[:3], "--images", images, "--weights", panoptic_weights) == 1
    assert "images: expected the folder of the images of" in error_line(capsys)


@pytest.mark.slow
def test_evaluate_with_several_processes(weights: str, images: Path, truth: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--data", truth, "--images", images, "--weights", weights, "--device", "cpu", "--no-plot"]
    assert run_command(*words, "--out", tmp_path / "alone") == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "condinst.cli", *words, "--out", tmp_path / "shared"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 images, at most") == 1
    rows, shared_rows = (
        [(row["image_id"], row["category_id"], row["score"]) for row in json.loads(path.read_text())]
        for path in (tmp_path / "alone" / "results.json", tmp_path / "shared" / "results.json")
    )
    assert rows and np.allclose(rows, shared_rows)
    assert json.loads((tmp_path / "shared" / "metrics.json").read_text())["images"] == 2
