"""Files, folders and patterns, and what is said of those without images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from condinst.data.image_files import Problem, count_frames, list_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "below/c.png", "below/deep/d.tif", ".hidden/e.png", "below/note.txt", "f[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "below" / "loop")
    return tmp_path


def names(files: list[Path], folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in files]


def test_folders(folder: Path) -> None:
    flat = ["a.jpg", "b.png", "f[1].png"]
    assert names(list_images([folder]), folder) == flat
    assert names(list_images([folder], recursive=True), folder) == [*flat, "below/c.png", "below/deep/d.tif"]


def test_patterns(folder: Path) -> None:
    assert names(list_images([folder / "*.png", folder / "b.png"]), folder) == ["b.png", "f[1].png"]
    assert names(list_images([folder / "below" / "deep" / "**"]), folder) == ["below/deep/d.tif"]
    assert names(list_images([folder / "f[1].png"]), folder) == ["f[1].png"]


def test_problems_do_not_cost_the_other_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    problems: list[Problem] = []
    paths = [folder / "empty", folder / "*.gif", Path("-"), folder / "below", folder / "a.jpg"]
    assert names(list_images(paths, recursive=True, problems=problems), folder) == ["below/c.png", "a.jpg"]
    reasons = [reason for _, reason in problems]
    assert [path for path, _ in problems] == [*paths[:3], folder / "below" / "deep"]
    assert "no images in this folder" in reasons[0] and "no image file has a name of this pattern" in reasons[1]
    assert "standard input" in reasons[2] and "Permission denied" in reasons[3]
    for path, reason in problems[:3]:
        with pytest.raises(ValueError, match=f"{reason[:12]}"):
            list_images([path])


def test_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (index, 0, 0)) for index in range(3)]
    for ending in ("gif", "tif", "png"):
        path = tmp_path / f"several.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert count_frames(path) == 3
        frames[0].save(path)
        assert count_frames(path) == 1
    (tmp_path / "damaged.gif").write_bytes(b"GIF89a")
    assert count_frames(tmp_path / "damaged.gif") == 1 == count_frames(tmp_path / "photo.jpg")
