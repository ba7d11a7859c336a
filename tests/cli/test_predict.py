"""`condinst predict`: what it writes, and what it says of files that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import condinst
from condinst.models.checkpoints import files
from tests.command import error_line, run_command


def test_predict(weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run_command("predict", images, "--weights", weights, "--out", out, "--score-threshold", 0.01) == 0
    assert sorted(file.name for file in out.iterdir()) == ["a.png", "b.png", "images.json", "predictions.json"]
    results = json.loads((out / "predictions.json").read_text())
    assert results and {row["image_id"] for row in results} <= {1, 2}
    assert f"2 of 2 images, {len(results)} objects" in capsys.readouterr().out


def test_score_threshold_acts_on_the_reported_score(weights: str, images: Path, tmp_path: Path) -> None:
    def scores(threshold: float) -> list[float]:
        assert (
            run_command("predict", images, "--weights", weights, "--out", tmp_path, "--score-threshold", threshold) == 0
        )
        return [row["score"] for row in json.loads((tmp_path / "predictions.json").read_text())]

    everything = scores(0.0)  # below the model's own threshold
    middle = sorted(everything)[len(everything) // 2]
    assert scores(middle) == [score for score in everything if score > middle]
    assert scores(1.0) == []


def test_predict_panoptic(
    panoptic_weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_command("predict", images, "--weights", panoptic_weights, "--task", "panoptic", "--out", out) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "a.png", "b.png", "images.json", "panoptic", "panoptic.json", "predictions.json",
    ]  # fmt: skip
    annotations = json.loads((out / "panoptic.json").read_text())["annotations"]
    categories = [segment["category_id"] for one in annotations for segment in one["segments_info"]]
    things = sum(category <= 3 for category in categories)
    # random weights give scores below --score-threshold, which is not that of the merge
    assert json.loads((out / "predictions.json").read_text()) == [] and things > 0
    text = capsys.readouterr().out
    assert f"2 of 2 images, 0 objects, {things} things and {len(categories) - things} stuff segments, " in text


def test_score_threshold_below_that_of_a_panoptic_model(panoptic_weights: str, images: Path, tmp_path: Path) -> None:
    model = condinst.load(panoptic_weights, score_threshold=0.5)
    condinst.save_checkpoint(model, tmp_path / "strict.safetensors")
    arguments = ["--weights", tmp_path / "strict.safetensors", "--task", "panoptic", "--out", tmp_path]
    assert run_command("predict", images, *arguments, "--score-threshold", 0.0) == 0
    assert json.loads((tmp_path / "predictions.json").read_text())


def test_panoptic_by_a_model_without_a_semantic_branch(
    weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_command("predict", images, "--weights", weights, "--task", "panoptic", "--out", out) == 1
    assert "task: panoptic needs a model with a semantic branch, and condinst_nano has none" in error_line(capsys)
    assert not out.exists()


def test_one_bad_file_among_good_ones(
    weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "bad.jpg").write_bytes((images / "b.jpg").read_bytes()[:300])
    assert run_command("predict", images, "--weights", weights, "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert f"error: {images / 'bad.jpg'}: damaged" in captured.err and "Traceback" not in captured.err
    assert "2 of 3 images" in captured.out
    assert (tmp_path / "out" / "a.png").exists() and (tmp_path / "out" / "b.png").exists()


def test_missing_image(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", tmp_path / "no.jpg", "--weights", weights, "--out", tmp_path / "out") == 1
    assert "no.jpg: no such file" in error_line(capsys)


def test_empty_folder(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", tmp_path, "--weights", weights) == 1
    assert "no images in this folder" in error_line(capsys)


@pytest.mark.parametrize("name", ["condinst_nanno", "missing.safetensors"])
def test_unknown_weights(name: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", images, "--weights", name) == 1
    assert name in error_line(capsys)


def test_file_that_holds_no_weights(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_text("hello")
        assert run_command("predict", images, "--weights", tmp_path / name) == 1
        assert name in error_line(capsys)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", "meta"])
def test_unknown_device(device: str, weights: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", images, "--weights", weights, "--device", device) == 1
    assert f"device: expected auto, cpu or a GPU of this machine, got '{device}'" in error_line(capsys)


def test_interrupt(
    weights: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("condinst.engine.inference._segment", interrupted)
    assert run_command("predict", images, "--weights", weights, "--out", tmp_path / "out") == 130
    assert "interrupted; what was finished is in" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["instance", "panoptic"])
def test_weights_are_read_once(
    task: str, panoptic_weights: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read_content = files.read_content

    def record(path: Path) -> Any:
        reads.append(path)
        return read_content(path)

    monkeypatch.setattr("condinst.models.checkpoints.checkpoint.read_content", record)
    words = ["--weights", panoptic_weights, "--task", task, "--out", tmp_path / "out", "--score-threshold", 0.0]
    assert run_command("predict", images, *words) == 0
    assert reads == [Path(panoptic_weights)]


def test_what_is_no_image_is_named_and_the_others_are_processed(
    weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "below").mkdir()
    frames = [Image.new("L", (40, 30), shade) for shade in (0, 99)]
    frames[0].save(images / "below" / "c.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    arguments = ["--weights", weights, "--out", out, "--recursive"]
    assert run_command("predict", tmp_path / "empty", "-", f"{tmp_path}/*.tif", images, *arguments) == 1
    captured = capsys.readouterr()
    assert "3 of 3 images" in captured.out and (out / "c.png").is_file()
    assert "c.gif: 2 frames, of which the first was segmented" in captured.err
    for reason in ("empty: no images in this folder", "-: expected files", "*.tif: no image file has a name"):
        assert reason in captured.err


def test_pixel_limit(
    weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDINST_MAX_PIXELS", "1000000")  # which monkeypatch puts back
    arguments = ["--weights", weights, "--out", tmp_path / "out"]
    assert run_command("predict", images, *arguments, "--max-pixels", 1199) == 1
    assert "too large: expected at most 1199 pixels" in capsys.readouterr().err
    assert run_command("predict", images, *arguments, "--max-pixels", 1200) == 0


def test_a_second_run_in_the_folder_of_its_images(
    weights: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run_command("predict", images, "--weights", weights, "--out", images) == 0
        entries = json.loads((images / "images.json").read_text())
        assert not {entry["overlay"] for entry in entries} & {Path(entry["path"]).name for entry in entries}
    assert "overlays of an earlier run" in capsys.readouterr().err
