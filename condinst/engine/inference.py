"""A model run over many image files, with its results in a folder."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from condinst.data.images import read_image
from condinst.models.condinst import CondInst
from condinst.models.predictions import Predictions, predict


@dataclass
class InferenceSummary:
    """What a run over images did.

    Args:
        images: number of images with results.
        detections: number of objects in all of them.
        failed: (file, reason) of the images without results.
        seconds: from start to end, with reading and drawing.
    """

    images: int = 0
    detections: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def seconds_per_image(self) -> float:
        """Mean time of an image with results; 0 when there is none."""
        return self.seconds / self.images if self.images else 0.0


def predict_files(
    model: CondInst,
    paths: Sequence[Path],
    out_dir: str | Path,
    *,
    score_threshold: float | None = None,
    progress: bool = True,
) -> InferenceSummary:
    """Segments image files one after the other and writes what it found.

    `out_dir` gets

    - an overlay `NAME.png` for each image, NAME being the file's without its ending, with "_2", "_3" ... where
      several files have the same one. An input file is never overwritten.
    - `predictions.json`, a list in COCO's results format, see `Predictions.to_coco`.
    - `images.json`, a list of the images: `id` (the `image_id` in `predictions.json`), `file_name`, `path` as
      given, `height`, `width`, and `overlay`, the name of the PNG.

    An image's id is its name as a number if all names are different whole numbers, as in COCO
    ("000000000139.jpg"); otherwise its place in `paths`, from 1. Files that cannot be read, and images that do not
    fit in the GPU's memory, are noted and left out. The JSON files are written once, at the end; what was done by
    then is also kept when the run is interrupted or fails.

    Args:
        model: the model, on its device.
        paths: image files.
        out_dir: folder for the results, made where it is missing.
        score_threshold: see `predict`.
        progress: show a progress bar on stderr, if that is a terminal.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    overlays = _overlay_names(paths, out)
    summary = InferenceSummary()
    results: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    start = time.monotonic()
    try:
        with _progress_bar(disable=not progress) as bar:
            task = bar.add_task("Segmenting", total=len(paths), name="")
            for path, overlay, image_id in zip(paths, overlays, _image_ids(paths), strict=True):
                bar.update(task, name=path.name)
                found = _segment(model, path, score_threshold)
                if isinstance(found, str):
                    summary.failed.append((path, found))
                else:
                    _write_atomically(out / overlay, _png(found))
                    results += found.to_coco(image_id)
                    images.append(_image_entry(found, image_id, path, overlay))
                    summary.images += 1
                    summary.detections += len(found)
                bar.advance(task)
    finally:
        _write_atomically(out / "images.json", json.dumps(images, indent=1).encode())
        _write_atomically(out / "predictions.json", json.dumps(results).encode())
        summary.seconds = time.monotonic() - start
    return summary


def _segment(model: CondInst, path: Path, score_threshold: float | None) -> Predictions | str:
    """The objects in an image file, or the reason why there is no result for this one."""
    try:
        image = read_image(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    try:
        return predict(model, image, score_threshold=score_threshold)
    except torch.OutOfMemoryError as error:
        return str(error).partition("\n")[0]


def _overlay_names(paths: Sequence[Path], out: Path) -> list[str]:
    """A PNG name in `out` for each path: no two alike (nor on disks that ignore case), none that of an input."""
    inputs = {path.resolve() for path in paths}
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = f"{path.stem}.png", 1
        while name.lower() in taken or (out / name).resolve() in inputs:
            number += 1
            name = f"{path.stem}_{number}.png"
        taken.add(name.lower())
        names.append(name)
    return names


def _image_ids(paths: Sequence[Path]) -> list[int]:
    if all(path.stem.isdecimal() for path in paths):
        ids = [int(path.stem) for path in paths]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(paths) + 1))


def _image_entry(found: Predictions, image_id: int, path: Path, overlay: str) -> dict[str, Any]:
    height, width = found.image.shape[1:]
    return {
        "id": image_id,
        "file_name": path.name,
        "path": str(path),
        "height": height,
        "width": width,
        "overlay": overlay,
    }


def _png(found: Predictions) -> bytes:
    buffer = io.BytesIO()
    found.plot().save(buffer, "png")
    return buffer.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is the old one or the new one, but never half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _progress_bar(*, disable: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}"),
        console=console,
        disable=disable or not console.is_terminal,
        transient=True,
    )
