"""Runs over many files: what is written, under which names, and what bad files and interruptions leave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import condinst
from condinst.data.images import read_image
from condinst.engine import inference
from condinst.engine.inference import predict_files


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
    expected = [*model.predict(paths[0]).to_coco(1), *model.predict(paths[1]).to_coco(2)]  # type: ignore[union-attr]
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


def test_interrupted_run_keeps_what_is_done(
    model: condinst.CondInst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [_image(tmp_path / f"{name}.png") for name in "abc"]

    def interrupted(path: Path) -> torch.Tensor:
        if path == paths[2]:
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr(inference, "read_image", interrupted)
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

    monkeypatch.setattr(inference, "predict", no_memory)
    summary = predict_files(model, [_image(tmp_path / "a.png")], tmp_path / "out", progress=False)
    assert summary.failed == [(tmp_path / "a.png", "CUDA out of memory.")]
    assert summary.seconds_per_image == 0


def test_score_threshold(model: condinst.CondInst, tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    assert predict_files(model, [path], tmp_path / "out", score_threshold=1.0, progress=False).detections == 0
    with pytest.raises(ValueError, match="score_threshold"):
        predict_files(model, [path], tmp_path / "out", score_threshold=2.0, progress=False)
