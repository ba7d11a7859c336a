"""Runs over many files: what is written, under which names, and what bad files and interruptions leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import condinst
from condinst.data.images import read_image
from condinst.data.panoptic import CocoPanoptic
from condinst.data.panoptic_png import read_segment_ids
from condinst.engine import inference
from condinst.engine.inference import predict_files
from condinst.evaluation.panoptic import PanopticEvaluator
from tests.data.synthetic import write_panoptic
from tests.models.tiny import tiny_panoptic_config


@pytest.fixture(scope="module")
def model() -> condinst.CondInst:
    """A tiny model with random weights that finds up to 3 objects in any image."""
    config = condinst.load_config("condinst_nano").replace(
        min_size_test=64, max_size_test=64, score_threshold=0.0, max_detections=3
    )
    torch.manual_seed(0)
    return condinst.CondInst(config).eval()


def _image(path: Path, seed: int = 0, size: tuple[int, int] = (30, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _read(path: Path) -> list[dict]:
    content = json.loads(path.read_text())
    assert isinstance(content, list)
    return content


def test_results(model: condinst.CondInst, tmp_path: Path) -> None:
    paths = [_image(tmp_path / "in" / "a.png"), _image(tmp_path / "in" / "b.jpg", 1, (20, 50))]
    out = tmp_path / "new" / "out"
    summary = predict_files(model, paths, out, progress=False)
    assert sorted(file.name for file in out.iterdir()) == ["a.png", "b.png", "images.json", "predictions.json"]
    with Image.open(out / "b.png") as overlay:
        assert overlay.size == (50, 20)
    images = _read(out / "images.json")
    assert images[1] == {
        "id": 2, "file_name": "b.jpg", "path": str(paths[1]), "height": 20, "width": 50, "overlay": "b.png",
    }  # fmt: skip
    results = _read(out / "predictions.json")
    expected = [*model.predict(paths[0]).to_coco(1), *model.predict(paths[1]).to_coco(2)]
    assert results == expected and len(results) > 0
    assert (summary.images, summary.detections, summary.failed) == (2, len(results), [])
    assert summary.seconds_per_image == summary.seconds / 2 > 0


def test_pycocotools_reads_the_results(model: condinst.CondInst, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    predict_files(model, [_image(tmp_path / "a.png")], tmp_path / "out", progress=False)
    truth = COCO()
    truth.dataset = {
        "images": _read(tmp_path / "out" / "images.json"),
        "annotations": [],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "out" / "predictions.json"))
    assert loaded.annToMask(loaded.anns[1]).shape == (30, 40)


def test_bad_files_are_named_and_do_not_end_the_run(model: condinst.CondInst, tmp_path: Path) -> None:
    good = [_image(tmp_path / "a.png"), _image(tmp_path / "c.png")]
    cut = tmp_path / "b.png"
    cut.write_bytes(good[0].read_bytes()[:500])
    missing = tmp_path / "missing.png"
    summary = predict_files(model, [good[0], cut, missing, good[1]], tmp_path / "out", progress=False)
    assert summary.images == 2
    assert [path for path, _ in summary.failed] == [cut, missing]
    assert "damaged" in summary.failed[0][1] and summary.failed[1][1] == "no such file"
    assert [image["id"] for image in _read(tmp_path / "out" / "images.json")] == [1, 4]


def test_no_overlay_overwrites_another_or_an_input(model: condinst.CondInst, tmp_path: Path) -> None:
    paths = [
        _image(tmp_path / "a.png"),
        _image(tmp_path / "a.jpg"),
        _image(tmp_path / "sub" / "a.png"),
        _image(tmp_path / "A_2.bmp"),
    ]
    before = paths[0].read_bytes()
    predict_files(model, paths, tmp_path, progress=False)  # into the folder of the inputs
    names = [image["overlay"] for image in _read(tmp_path / "images.json")]
    assert names == ["a_2.png", "a_3.png", "a_4.png", "A_2_2.png"]
    assert all((tmp_path / name).is_file() for name in names)
    assert paths[0].read_bytes() == before


def test_image_ids_are_coco_file_names_where_these_are_numbers() -> None:
    assert inference._image_ids([Path("000000000139.jpg"), Path("x/17.png")]) == [139, 17]
    assert inference._image_ids([Path("17.jpg"), Path("017.png")]) == [1, 2]
    assert inference._image_ids([Path("17.jpg"), Path("b.png")]) == [1, 2]
    assert inference._image_ids([]) == []


def _interrupt_at(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when this file is read."""

    def interrupted(path: Path) -> torch.Tensor:
        if path == last:
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr(inference, "read_image", interrupted)


def test_interrupted_run_keeps_what_is_done(
    model: condinst.CondInst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [_image(tmp_path / f"{name}.png") for name in "abc"]
    _interrupt_at(paths[2], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict_files(model, paths, tmp_path / "out", progress=False)
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert files == ["a.png", "b.png", "images.json", "predictions.json"]
    assert len(_read(tmp_path / "out" / "images.json")) == 2
    assert {row["image_id"] for row in _read(tmp_path / "out" / "predictions.json")} == {1, 2}


def test_image_that_does_not_fit_in_gpu_memory_is_left_out(
    model: condinst.CondInst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 80 GiB")

    monkeypatch.setattr(condinst.CondInst, "predict", no_memory)
    summary = predict_files(model, [_image(tmp_path / "a.png")], tmp_path / "out", progress=False)
    assert summary.failed == [(tmp_path / "a.png", "CUDA out of memory.")]
    assert summary.seconds_per_image == 0


def test_score_threshold(model: condinst.CondInst, tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    assert predict_files(model, [path], tmp_path / "out", score_threshold=1.0, progress=False).detections == 0
    with pytest.raises(ValueError, match="score_threshold"):
        predict_files(model, [path], tmp_path / "out", score_threshold=2.0, progress=False)


def make_panoptic_model(**overrides: Any) -> condinst.CondInst:
    """A tiny model with random weights that finds things and stuff in any image."""
    torch.manual_seed(0)
    model = condinst.CondInst(tiny_panoptic_config(panoptic_score_threshold=0.0, **overrides))
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    return model.eval()


@pytest.fixture(scope="module")
def panoptic_model() -> condinst.CondInst:
    return make_panoptic_model()


def test_panoptic_results(panoptic_model: condinst.CondInst, tmp_path: Path) -> None:
    paths = [_image(tmp_path / "in" / "7.png"), _image(tmp_path / "in" / "5.jpg", 1, (20, 50))]
    out = tmp_path / "new" / "out"
    summary = predict_files(panoptic_model, paths, out, task="panoptic", progress=False)
    files = sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())
    assert files == [
        "5.png", "7.png", "images.json", "panoptic.json", "panoptic/5.png", "panoptic/7.png", "predictions.json",
    ]  # fmt: skip

    content = json.loads((out / "panoptic.json").read_text())
    assert [(image["id"], image["height"], image["width"]) for image in content["images"]] == [(7, 30, 40), (5, 20, 50)]
    assert content["images"] == _read(out / "images.json")
    assert content["categories"] == [
        {"id": number, "name": name, "isthing": int(number < 4)}
        for number, name in enumerate(("disc", "square", "bar", "sky", "sea", "sand"), start=1)
    ]
    predictions = panoptic_model.predict(paths)
    assert isinstance(predictions, list)
    segments = []
    for found, annotation, image in zip(predictions, content["annotations"], content["images"], strict=True):
        assert found.panoptic is not None
        assert annotation["image_id"] == image["id"] and annotation["file_name"] == image["overlay"]
        assert torch.equal(read_segment_ids(out / "panoptic" / annotation["file_name"]), found.panoptic.ids)
        with Image.open(out / image["overlay"]) as overlay:
            assert overlay.tobytes() == found.panoptic.plot().tobytes()
        segments += annotation["segments_info"]
    assert {segment["category_id"] for segment in segments} == {
        segment["label"] + 1
        for found in predictions
        for segment in found.panoptic.segments_info  # type: ignore[union-attr]
    }
    assert _read(out / "predictions.json") == [*predictions[0].to_coco(7), *predictions[1].to_coco(5)]
    assert (summary.things, summary.stuff) == (
        sum(segment["category_id"] < 4 for segment in segments),
        sum(segment["category_id"] >= 4 for segment in segments),
    )
    assert summary.things > 0 and summary.stuff > 0


def test_category_ids_of_the_model(tmp_path: Path) -> None:
    model = make_panoptic_model(category_ids=(3, 17, 90), stuff_category_ids=(92, 93, 200))
    predict_files(model, [_image(tmp_path / "a.png")], tmp_path / "out", task="panoptic", progress=False)
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    known = {3, 17, 90, 92, 93, 200}
    assert {category["id"] for category in content["categories"]} == known
    (annotation,) = content["annotations"]
    assert annotation["segments_info"] and {one["category_id"] for one in annotation["segments_info"]} <= known


def test_panoptic_results_are_evaluated_as_those_of_the_model(tmp_path: Path) -> None:
    data = CocoPanoptic(write_panoptic(tmp_path / "data"), tmp_path / "data" / "images")
    model = make_panoptic_model(
        num_classes=2, category_ids=data.classes.category_ids, max_detections=1, stuff_area_limit=1,
        num_stuff_classes=2, stuff_names=(), stuff_category_ids=data.classes.stuff_category_ids,
    )  # fmt: skip
    paths = [data.image_path(index) for index in range(len(data))]
    summary = predict_files(model, paths, tmp_path / "out", task="panoptic", progress=False)
    of_files = PanopticEvaluator(data).evaluate_results(tmp_path / "out" / "panoptic.json")
    of_model = PanopticEvaluator(data).evaluate(model)
    assert of_files.pop("results") == str(tmp_path / "out" / "panoptic.json")
    assert of_files == {key: of_model[key] for key in of_files}
    counted = sum(one["TP"] + one["FP"] for one in of_files["per_class"].values())
    assert counted == summary.things + summary.stuff > 4


def test_the_score_threshold_leaves_panoptic_results_alone(panoptic_model: condinst.CondInst, tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    low, high = (
        predict_files(panoptic_model, [path], tmp_path / name, task="panoptic", score_threshold=value, progress=False)
        for name, value in (("low", 0.0), ("high", 1.0))
    )
    assert low.detections > high.detections == 0
    assert (low.things, low.stuff) == (high.things, high.stuff) and high.things > 0
    assert (tmp_path / "low" / "a.png").read_bytes() == (tmp_path / "high" / "a.png").read_bytes()


def test_instances_of_a_panoptic_model(panoptic_model: condinst.CondInst, tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    summary = predict_files(panoptic_model, [path], tmp_path / "out", progress=False)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.png", "images.json", "predictions.json"]
    assert summary.detections > 0 and (summary.things, summary.stuff) == (0, 0)
    with Image.open(tmp_path / "out" / "a.png") as overlay:
        assert overlay.tobytes() == panoptic_model.predict(path).plot().tobytes()


def test_interrupted_panoptic_run_keeps_what_is_done(
    panoptic_model: condinst.CondInst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [_image(tmp_path / f"{name}.png") for name in "ab"]
    _interrupt_at(paths[1], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict_files(panoptic_model, paths, tmp_path / "out", task="panoptic", progress=False)
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [annotation["file_name"] for annotation in content["annotations"]] == ["a.png"]
    assert [image["file_name"] for image in content["images"]] == ["a.png"]
    assert [file.name for file in (tmp_path / "out" / "panoptic").iterdir()] == ["a.png"]


def test_no_segment_ids_overwrite_an_input(panoptic_model: condinst.CondInst, tmp_path: Path) -> None:
    path = _image(tmp_path / "panoptic" / "a.png")
    before = path.read_bytes()
    predict_files(panoptic_model, [path], tmp_path, task="panoptic", progress=False)
    assert path.read_bytes() == before
    assert (tmp_path / "a_2.png").is_file() and (tmp_path / "panoptic" / "a_2.png").is_file()


def test_tasks_that_cannot_be_done(model: condinst.CondInst, tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    message = "task: panoptic needs a model with a semantic branch, and condinst_nano has none"
    with pytest.raises(ValueError, match=message):
        predict_files(model, [path], tmp_path / "out", task="panoptic", progress=False)
    with pytest.raises(ValueError, match="task: expected one of instance, panoptic; got 'semantic'"):
        predict_files(model, [path], tmp_path / "out", task="semantic", progress=False)
    assert not (tmp_path / "out").exists()
