"""What a run over files may overwrite, and that no path costs the results of another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import condinst
from condinst.engine.inference import InferenceSummary, predict_files
from tests.models.tiny import TINY


@pytest.fixture(scope="module")
def model() -> condinst.CondInst:
    torch.manual_seed(0)
    return condinst.CondInst(TINY.replace(max_detections=2))


def write_image(path: Path, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return path


def run(model: condinst.CondInst, paths: list[Path], out: Path) -> InferenceSummary:
    return predict_files(model, paths, out, progress=False)


def test_links_in_a_circle_and_long_names(model: condinst.CondInst, tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png")
    for name, target in (("one.png", "two.png"), ("two.png", "one.png")):
        os.symlink(target, tmp_path / name)
    longest = write_image(tmp_path / f"{'y' * 251}.png")
    too_long = tmp_path / f"{'z' * 300}.png"
    wide = write_image(tmp_path / f"{'人' * 83}.png")
    summary = run(model, [tmp_path / "one.png", longest, too_long, wide, good], tmp_path / "out")
    assert [path for path, _ in summary.failed] == [tmp_path / "one.png", too_long]
    assert summary.images == 3 and (tmp_path / "out" / "good.png").is_file()
    names = [image["overlay"] for image in json.loads((tmp_path / "out" / "images.json").read_text())]
    assert len(set(names)) == 3 and all((tmp_path / "out" / name).is_file() for name in names)


def test_an_overlay_that_cannot_be_written(
    model: condinst.CondInst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_image(tmp_path / "a.png"), write_image(tmp_path / "b.png")]
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == "a.png":
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    summary = run(model, paths, tmp_path / "out")
    assert summary.failed == [(paths[0], "its results cannot be written: Permission denied")] and summary.images == 1


def test_a_full_disk_ends_the_run(model: condinst.CondInst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.png")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        run(model, [path], tmp_path / "out")


def test_only_results_of_an_earlier_run_are_replaced(model: condinst.CondInst, tmp_path: Path) -> None:
    path, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    run(model, [path], out)
    first = (out / "predictions.json").read_bytes(), (out / "a.png").read_bytes()
    mine = write_image(out / "b.png", 7).read_bytes()
    run(model, [path, write_image(tmp_path / "b.png", 1)], out)
    assert (out / "b.png").read_bytes() == mine and (out / "b_2.png").is_file() and not (out / "a_2.png").exists()
    run(model, [path], out)
    assert ((out / "predictions.json").read_bytes(), (out / "a.png").read_bytes()) == first  # and equal runs are equal


@pytest.mark.parametrize("name", ["predictions.json", "images.json"])
def test_other_files_are_not_replaced(model: condinst.CondInst, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('[{"image_id": 1}]')
    with pytest.raises(FileExistsError, match=f"{name}: expected no file, or that of an earlier run"):
        run(model, [write_image(tmp_path / "a.png")], tmp_path)
    assert (tmp_path / name).read_text() == '[{"image_id": 1}]'


@pytest.mark.parametrize("content", ["{}", "[]", '""', "null", "[[]]"])
def test_images_json_of_others(model: condinst.CondInst, tmp_path: Path, content: str) -> None:
    (tmp_path / "images.json").write_text(content)
    (tmp_path / "predictions.json").write_text('[{"image_id": 1}]')
    with pytest.raises(FileExistsError, match=r"images\.json: expected no file, or that of an earlier run"):
        run(model, [write_image(tmp_path / "a.png")], tmp_path)


def test_results_of_a_run_without_images_are_replaced(model: condinst.CondInst, tmp_path: Path) -> None:
    run(model, [tmp_path / "missing.png"], tmp_path / "out")
    assert run(model, [write_image(tmp_path / "a.png")], tmp_path / "out").images == 1
