"""A model run over many image files, with its results in a folder."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condinst.data.image_files import count_frames
from condinst.data.images import read_image
from condinst.engine.inference_files import overlay_names, read_earlier_overlays
from condinst.files import atomic_write, write_json
from condinst.messages import is_out_of_memory
from condinst.models.condinst import CondInst
from condinst.models.predictions import Predictions
from condinst.progress import progress_bar

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

TASKS = ("instance", "panoptic")


@dataclass
class InferenceSummary:
    """What a run over images did.

    Args:
        images: number of images with results.
        detections: number of objects in all of them.
        things, stuff: number of panoptic segments of either kind, 0 with the task "instance".
        failed: (file, reason) of the images without results.
        notes: (file, text) of images that are not all that is in their file.
        seconds: from start to end, with reading and drawing.
    """

    images: int = 0
    detections: int = 0
    things: int = 0
    stuff: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[tuple[Path, str]] = field(default_factory=list)
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
    task: str = "instance",
    score_threshold: float | None = None,
    progress: bool = True,
) -> InferenceSummary:
    """Segments image files one after the other and writes the results.

    `out_dir` gets

    - an overlay `NAME.png` for each image, NAME being the file's without its ending, with "_2", "_3" ... where
      several files have the same one, or where there is a file that is not the overlay of an earlier run.
    - `predictions.json`, a list in COCO's results format, see `Predictions.to_coco`.
    - `images.json`, a list of the images: `id` (the `image_id` in `predictions.json`), `file_name`, `path` as
      given, `height`, `width`, and `overlay`, the name of the PNG.

    and with the task "panoptic", where overlays show panoptic segments in place of objects, also

    - a PNG of segment ids in `panoptic/` for each image, under the name of its overlay.
    - `panoptic.json` in COCO's panoptic results format: `annotations`, see `PanopticPrediction.to_coco`, and the
      `images` (those of `images.json`) and `categories` that they speak of.

    An image's id is its name as a number if all names are different whole numbers, as in COCO
    ("000000000139.jpg"); otherwise its place in `paths`, from 1. Files that cannot be read, images that do not fit in
    memory, and those whose overlay cannot be written are noted and left out. The JSON files are written once, at the
    end; what was done by then is also kept when the run is interrupted or fails.

    Nothing is overwritten but the results of an earlier run, which `images.json` names.

    Args:
        model: the model, on its device.
        paths: image files.
        out_dir: folder for the results, made where it is missing.
        task: "instance", or "panoptic" with a `panoptic` model.
        score_threshold: of the objects in `predictions.json` (and, with the task "instance", in the overlays); see
            `predict`.
        progress: show a progress bar on stderr, if that is a terminal.

    Raises:
        FileExistsError: a JSON file that is to be written exists and is not of an earlier run.
        ValueError: an unknown task, or one that the model cannot do; a `score_threshold` that it cannot keep.
    """
    if task not in TASKS:
        raise ValueError(f"task: expected one of {', '.join(TASKS)}; got {task!r}")
    panoptic = task == "panoptic"
    if panoptic and not model.config.panoptic:
        raise ValueError(f"task: panoptic needs a model with a semantic branch, and {model.config.name} has none")
    out = Path(out_dir)
    folders = [out, out / "panoptic"] if panoptic else [out]
    earlier = read_earlier_overlays(out, ["images.json", "predictions.json", *["panoptic.json"] * panoptic], paths)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    overlays = overlay_names(paths, folders, earlier)
    summary = InferenceSummary()
    results: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    start = time.monotonic()
    try:
        with progress_bar(shown=progress) as bar:
            bar_task = bar.add_task("Segmenting", total=len(paths), text="")
            for path, overlay, image_id in zip(paths, overlays, _image_ids(paths), strict=True):
                bar.update(bar_task, text=path.name)
                predictions = _segment(model, path, score_threshold, panoptic)
                if isinstance(predictions, Predictions):
                    try:
                        annotation = _write_pictures(predictions, image_id, overlay, folders)
                    except OSError as error:
                        if error.errno in _DISK_ERRORS:  # no other file could be written, either
                            raise
                        predictions = f"its results cannot be written: {error.strerror or error}"
                if isinstance(predictions, str):
                    summary.failed.append((path, predictions))
                    bar.advance(bar_task)
                    continue
                if annotation is not None and predictions.panoptic is not None:
                    annotations.append(annotation)
                    summary.things += predictions.panoptic.num_things
                    summary.stuff += len(predictions.panoptic) - predictions.panoptic.num_things
                results += predictions.to_coco(image_id)
                images.append(_image_entry(predictions, image_id, path, overlay))
                summary.images += 1
                summary.detections += len(predictions)
                if (frames := count_frames(path)) > 1:
                    summary.notes.append((path, f"{frames} frames, of which the first was segmented"))
                bar.advance(bar_task)
    finally:
        write_json(out / "images.json", images)
        write_json(out / "predictions.json", results)
        if panoptic:
            content = {"images": images, "annotations": annotations, "categories": model.config.classes.to_categories()}
            write_json(out / "panoptic.json", content)
        summary.seconds = time.monotonic() - start
    return summary


def _segment(model: CondInst, path: Path, score_threshold: float | None, panoptic: bool) -> Predictions | str:
    """What is in an image file, or the reason why there is no result for this one."""
    try:
        image = read_image(path)
    except (ValueError, OSError) as error:
        return str(error).removeprefix(f"{path}: ")
    try:
        return model.predict(image, score_threshold=score_threshold, panoptic=panoptic)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return str(error).partition("\n")[0] or "not enough memory"


def _write_pictures(
    predictions: Predictions, image_id: int, name: str, folders: Sequence[Path]
) -> dict[str, Any] | None:
    """Writes the overlay of an image into the first folder, and its segment ids into the second, if there is one.

    Returns:
        The entry of the image in `panoptic.json`; None without panoptic results.
    """
    shown = predictions if predictions.panoptic is None else predictions.panoptic
    with atomic_write(folders[0] / name) as partial:
        shown.plot().save(partial, "png")
    return None if predictions.panoptic is None else predictions.panoptic.to_coco(image_id, folders[-1] / name)


def _image_ids(paths: Sequence[Path]) -> list[int]:
    if all(path.stem.isdecimal() for path in paths):
        ids = [int(path.stem) for path in paths]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(paths) + 1))


def _image_entry(predictions: Predictions, image_id: int, path: Path, overlay: str) -> dict[str, Any]:
    height, width = predictions.image.shape[1:]
    return {
        "id": image_id,
        "file_name": path.name,
        "path": str(path),
        "height": height,
        "width": width,
        "overlay": overlay,
    }
