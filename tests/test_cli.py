"""The command line: results, exit codes, and errors of one line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import condinst
from condinst import cli
from tests.command import run_command
from tests.data.synthetic import write_panoptic
from tests.models.tiny import tiny_panoptic_config


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a tiny model of random weights."""
    config = condinst.load_config("condinst_nano").replace(
        min_size_test=64, max_size_test=64, min_size_train=[64], max_size_train=64, score_threshold=0.01,
        max_detections=3,
    )  # fmt: skip
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    condinst.save_checkpoint(condinst.CondInst(config), path)
    return str(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, name in enumerate(("a.png", "b.jpg")):
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def truth(images: Path) -> Path:
    """COCO annotations of the folder: one object in its first image."""
    path = images.parent / "annotations.json"
    content = {
        "images": [
            {"id": 5, "file_name": "a.png", "height": 30, "width": 40},
            {"id": 6, "file_name": "b.jpg", "height": 30, "width": 40},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [2, 3, 20, 20], "area": 400, "iscrowd": 0,
             "segmentation": [[2, 3, 22, 3, 22, 23, 2, 23]]},
        ],
        "categories": [{"id": 3, "name": "thing"}],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    """What was written to stderr: one line that starts with "error: "."""
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text


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


@pytest.fixture(scope="module")
def panoptic_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a tiny panoptic model of random weights, whose merge takes instances of any score."""
    torch.manual_seed(0)
    model = condinst.CondInst(tiny_panoptic_config(panoptic_score_threshold=0.0))
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("weights") / "tiny_panoptic.safetensors"
    condinst.save_checkpoint(model, path)
    return str(path)


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
    assert "task: panoptic needs a model with a semantic branch, and condinst_nano has none" in _error(capsys)
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
    assert "no.jpg: no such file" in _error(capsys)


def test_empty_folder(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", tmp_path, "--weights", weights) == 1
    assert "no images in this folder" in _error(capsys)


@pytest.mark.parametrize("name", ["condinst_nanno", "missing.safetensors"])
def test_unknown_weights(name: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", images, "--weights", name) == 1
    assert name in _error(capsys)


def test_file_that_holds_no_weights(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_text("hello")
        assert run_command("predict", images, "--weights", tmp_path / name) == 1
        assert name in _error(capsys)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", "meta"])
def test_unknown_device(device: str, weights: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", images, "--weights", weights, "--device", device) == 1
    assert f"device: expected auto, cpu or a GPU of this machine, got '{device}'" in _error(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "a.png", "--score-threshold", "1.5"],
        ["predict", "a.png", "--score-threshold", "high"],
        ["predict", "a.png", "--task", "semantic"],
        ["predict"],
        ["predict", "a.png", "--colour", "red"],
        ["segment"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run_command(*arguments) == 2


def test_interrupt(
    weights: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("condinst.engine.inference._segment", interrupted)
    assert run_command("predict", images, "--weights", weights, "--out", tmp_path / "out") == 130
    assert "interrupted; what was finished is in" in capsys.readouterr().err


def test_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("backends", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"op": "dice_loss", "backend": "reference"}.items() <= rows[
        [r["op"] for r in rows].index("dice_loss")
    ].items()
    assert all(set(row) == {"op", "backend", "status", "reason"} for row in rows)
    assert run_command("backends") == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("op", "backend", "status", "reason", "dice_loss", "triton"))


def test_convert(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "half.safetensors"
    assert run_command("convert", weights, out, "--half") == 0
    assert "resnet18, 1 classes" in capsys.readouterr().out
    assert out.stat().st_size < 0.6 * Path(weights).stat().st_size
    assert condinst.load(out).config == condinst.load(weights).config

    assert run_command("convert", weights, tmp_path / "out.pth") == 1
    assert "ending in .safetensors" in _error(capsys)
    assert run_command("convert", tmp_path / "no.pth", out) == 1
    assert "no such file" in _error(capsys)


def test_explain(weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new"
    assert run_command("explain", images / "a.png", "--instance", 1, "--weights", weights, "--out", out) == 0
    assert "nucleus 0." in capsys.readouterr().out
    with Image.open(out / "a_object1.png") as sheet:
        assert sheet.width > 600
    assert run_command("explain", images / "a.png", "--instance", 99, "--weights", weights, "--out", out) == 1
    error = _error(capsys)
    assert "instance: expected 0.." in error and "instances found by condinst_nano, got 99" in error


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
    assert "instances_test*.json" in _error(capsys)


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
    assert "expected a model of 2 classes" in _error(capsys)


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
    assert run_command(*words[:3], "--images", images.parent, "--weights", weights) == 1
    assert "images: expected the folder of the images of" in _error(capsys)
    assert run_command(*words, "--config", "condinst_r51") == 1
    assert "config: expected" in _error(capsys)
    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else find(name))
        assert run_command(*words, "--out", images.parent / "out") == 1
    assert "pip install 'condinst[plot]'" in _error(capsys)
    assert not (images.parent / "out").exists()

    content = json.loads(truth.read_text())
    truth.write_text(json.dumps({**content, "annotations": []}))
    assert run_command(*words) == 1
    assert "expected annotations to compare with, got none in 2 images" in _error(capsys)
    truth.write_text(json.dumps({key: value for key, value in content.items() if key != "annotations"}))
    assert run_command(*words) == 1
    assert "annotations" in _error(capsys)


@pytest.fixture
def panoptic_truth(tmp_path: Path) -> Path:
    """Panoptic annotations of two images, whose categories the panoptic model knows by name."""
    path = write_panoptic(tmp_path / "panoptic_data", images=2)
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["name"] = {"rectangle": "square", "ground": "sand"}.get(category["name"], category["name"])
    path.write_text(json.dumps(content))
    return path


def test_evaluate_panoptic(
    panoptic_weights: str, panoptic_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", panoptic_truth, "--images", panoptic_truth.parent / "images"]
    out = tmp_path / "out"
    assert run_command(*words, "--weights", panoptic_weights, "--out", out, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"all", "things", "stuff", "per_class", "failed", "timing"} <= set(scores)
    assert scores["model"] == "tiny_panoptic" and scores["images"] == 2
    assert list(scores["per_class"]) == ["square", "disc", "sand", "sky"]
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "panoptic", "panoptic.json"]
    assert json.loads((out / "metrics.json").read_text()) == scores
    assert sum(own[count] for own in scores["per_class"].values() for count in ("TP", "FN")) == 8

    assert run_command(*words, "--task", "panoptic", "--results", out / "panoptic.json", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["per_class"] == scores["per_class"] and again["all"] == scores["all"]

    (panoptic_truth.parent / "images" / "1.jpg").unlink()
    assert run_command(*words, "--weights", panoptic_weights) == 1
    captured = capsys.readouterr()
    assert "2 images" in captured.out and "1 images were skipped; their segments count as missed" in captured.out
    assert f"error: {panoptic_truth.parent / 'images' / '1.jpg'}: no such file" in captured.err


def test_evaluate_panoptic_results(panoptic_truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = panoptic_truth.rename(panoptic_truth.with_name("truth.json"))
    words = ["evaluate", "--data", results, "--segments", results.parent / "panoptic", "--results"]
    (results.parent / "panoptic.json").write_text(results.read_text())
    assert run_command(*words, results.parent / "panoptic.json", "--limit", 1) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("All", "Things", "Stuff", "PQ", "SQ", "RQ", "100.00", "sand", "1 images"))
    assert run_command(*words, results.parent / "none.json") == 1
    assert "none.json: no such file" in _error(capsys)
    for more in (["--weights", "condinst_nano"], ["--config", "condinst_nano"], ["--task", "instance"]):
        assert run_command(*words, results, *more) == 1
        assert "results: expected --task panoptic and neither --config nor --weights" in _error(capsys)
    assert run_command(*words, results, "--max-dets", 5) == 1
    assert "nor --max-dets" in _error(capsys)


def test_evaluate_panoptic_results_of_a_folder_without_images(
    panoptic_truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = panoptic_truth.parent / "annotations"
    folder.mkdir()
    panoptic_truth.rename(folder / "panoptic_val2017.json")
    (panoptic_truth.parent / "panoptic").rename(folder / "panoptic_val2017")
    words = ["evaluate", "--data", folder.parent, "--json", "--results", folder / "panoptic_val2017.json"]
    assert run_command(*words) == 0
    assert json.loads(capsys.readouterr().out)["all"]["PQ"] == 1


def test_one_process_scores_panoptic_results(
    panoptic_truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, scores in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        words = ["--data", panoptic_truth, "--results", panoptic_truth, "--out", tmp_path / "out"]
        assert run_command("evaluate", *words) == 0
        assert ("PQ" in capsys.readouterr().out) == (tmp_path / "out" / "metrics.json").exists() == scores


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
        (["--data", metrics, *segments, *panoptic], metrics),
        (["--data", metrics, *segments, "--results", panoptic_truth, "--out", folder], metrics),
        (["--data", panoptic_truth, *segments, "--results", metrics, "--out", folder], metrics),
    ):
        assert run_command("evaluate", *words) == 1
        assert f"{path}: expected results elsewhere" in _error(capsys)
    assert {path: path.read_bytes() for path in images.parent.rglob("*.*")} == before


def test_evaluate_the_task_of_a_model(
    weights: str, panoptic_weights: str, images: Path, truth: Path, panoptic_truth: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    panoptic_words = ["evaluate", "--data", panoptic_truth, "--images", panoptic_truth.parent / "images"]
    assert run_command(*panoptic_words, "--weights", weights, "--task", "panoptic") == 1
    assert "task: expected instance, as 'condinst_nano' is no panoptic model, got panoptic" in _error(capsys)
    words = ["evaluate", "--data", truth, "--images", images]
    assert run_command(*words, "--weights", weights, "--segments", images) == 1
    assert "segments: expected none with --task instance" in _error(capsys)
    content = json.loads(truth.read_text())
    content["categories"][0]["name"] = "disc"
    truth.write_text(json.dumps(content))
    assert run_command(*words, "--weights", panoptic_weights, "--task", "instance", "--json") == 0
    assert "AP" in json.loads(capsys.readouterr().out)["mask"]
    assert run_command(*panoptic_words[:3], "--images", images, "--weights", panoptic_weights) == 1
    assert "images: expected the folder of the images of" in _error(capsys)


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
    assert condinst.load(out / "model.safetensors").config.class_names == ("thing",)
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
    assert after.config.class_names == ("thing", "other") and after.config.nms_threshold == 0.7
    assert after.head.cls_logits.out_channels == 2
    for name, value in after.head.controller.state_dict().items():
        torch.testing.assert_close(value, before.head.controller.state_dict()[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "stepz=2"], "--set stepz: expected one of steps"),
        (["--model", "nms_treshold=0.5"], "--model nms_treshold: expected one of name, num_classes"),
        (["--set", "steps"], "--set: expected NAME=VALUE"),
        (["--set", "steps=many"], "--set steps: expected int, got 'many'"),
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
    assert message in _error(capsys)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDINST_DEBUG", "1")
    with pytest.raises(ValueError, match="no such file"):
        cli.main(["convert", "no.pth", "out.safetensors"])


def test_unexpected_errors_name_their_type(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("condinst.backends.backend_table", broken)
    assert run_command("backends") == 1
    assert _error(capsys) == "error: it broke (RuntimeError; CONDINST_DEBUG=1 shows where)\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--version") == 0
    assert capsys.readouterr().out == f"condinst {condinst.__version__}\n"


def test_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "condinst.cli", "predict", "no.jpg", "--device", "abacus"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    bad = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert bad.returncode == 1 and bad.stdout == ""
    assert bad.stderr.startswith("error: device: expected auto") and "Traceback" not in bad.stderr
