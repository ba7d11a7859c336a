"""Panoptic quality of a model, or of results that lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from condinst.data.panoptic import CocoPanoptic
from condinst.data.panoptic_png import read_segment_ids
from condinst.data.panoptic_results import known_segments, png_name, read_panoptic_results, write_panoptic_result
from condinst.distributed import rank
from condinst.evaluation.categories import few
from condinst.evaluation.panoptic_quality import Counts, Segments, compare_segments, summarize
from condinst.evaluation.runner import (
    check_output,
    image_count,
    report,
    run_lengths_option,
    run_model,
)
from condinst.files import write_json
from condinst.progress import track


def evaluate_panoptic(
    model: nn.Module,
    data: CocoPanoptic,
    *,
    max_images: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
    category_ids: Sequence[int | None] | None = None,
    results_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Runs a model over annotated images and computes its panoptic quality, by the rules of COCO's panoptic task.

    Images go through one at a time and leave only counts behind. Where torch.distributed is initialised, all its
    processes must call this: each takes every world-size-th image, and all return what one process alone would.

    An image that cannot be read, is of another size than its annotation says or does not fit in the GPU's memory is
    named in the log and skipped. Its segments count as missed.

    Args:
        model: called as `model([image], panoptic=True)`; see `CondInst.forward` for the `panoptic` that it gives.
        data: the annotated images.
        max_images: only so many of the first images; 0 for all.
        device: where the model runs.
        progress: show a progress bar on stderr, if that is a terminal.
        category_ids: the category of each panoptic label of the model, None for one that the data does not have and
            whose segments become void, see `match_panoptic_categories`. By default the things of the data and then its
            stuff, each in the order of their ids.
        results_dir: write COCO's panoptic results there: `panoptic.json` and the folder `panoptic` with a PNG for each
            image, empty where it was skipped.

    Returns:
        `all`, `things`, `stuff` and `per_class`, see `summarize`; `failed`, the skipped images as {"image_id", "path",
        "reason"}; `timing`, the mean seconds of an image in the `model` and in `total`, NaN without images.

    Raises:
        ValueError: before the model runs: a negative `max_images`, a segment PNG that is missing, damaged or does not
            fit its annotation, or `results_dir` whose files would overwrite the ground truth. When its image comes: a
            label beyond the categories, or segments of the model that do not fit their map.
    """
    count = image_count(data, max_images)
    labels: Sequence[int | None] = [*data.category_ids, *data.stuff_category_ids]
    if category_ids is not None:
        labels = category_ids
    folder = None if results_dir is None else Path(results_dir)
    if folder is not None:
        check_output(folder / "panoptic.json", [data.annotations])
        check_output(folder / "panoptic", _folders(data))
    data.check_segments(count, progress=progress and rank() == 0)

    def to_result(index: int, detections: dict[str, Any] | None) -> tuple[dict[int, Counts], dict[str, Any] | None]:
        ids, segments = torch.zeros(data.image_size(index), dtype=torch.int32), []
        if detections:
            ids, segments = detections["panoptic"]["ids"], detections["panoptic"]["segments_info"]
        counts = _compare(data, index, *known_segments(ids, segments, labels))
        if folder is None:
            return counts, None
        image_id = data.image_ids[index]
        path = folder / "panoptic" / png_name(image_id)
        return counts, write_panoptic_result(ids, segments, labels, image_id, path)

    outcomes = run_model(
        model,
        data,
        count,
        to_result,
        options={"panoptic": True} | run_lengths_option(model),
        device=torch.device(device),
        progress=progress,
    )
    if folder is not None and rank() == 0:
        write_json(folder / "panoptic.json", {"annotations": [outcome.result[1] for outcome in outcomes]})
    return {**_summary(data, [outcome.result[0] for outcome in outcomes]), **report(data, outcomes)}


def evaluate_panoptic_results(
    results: str | Path, data: CocoPanoptic, *, max_images: int = 0, progress: bool = False
) -> dict[str, Any]:
    """The panoptic quality of results in COCO's form, without a model and without the images.

    Args:
        results: the JSON file, see `read_panoptic_results`.
        data: the annotated images.
        max_images: only so many of the first images; 0 for all.
        progress: show a progress bar on stderr, if that is a terminal.

    Returns:
        `all`, `things`, `stuff` and `per_class`, see `summarize`.

    Raises:
        ValueError: a negative `max_images`; bad segments in the data; an image without results or with those of another
            file, damaged PNGs, segments that do not fit their map, unknown categories.
    """
    count = image_count(data, max_images)
    found = read_panoptic_results(results, data.images)
    missing = [image_id for image_id in data.image_ids[:count] if image_id not in found]
    if missing:
        raise ValueError(f"{results}: expected results of each image, got none of {few(missing)}")
    data.check_segments(count, progress=progress)

    def compare(index: int) -> dict[int, Counts]:
        path, segments = found[data.image_ids[index]]
        return _compare(data, index, read_segment_ids(path), segments)

    with ThreadPoolExecutor() as pool:  # decoding PNG files leaves Python's lock alone
        compared = pool.map(compare, range(count))
        per_image = list(track(compared, "Comparing", count, shown=progress))
    return _summary(data, per_image)


def _folders(data: CocoPanoptic) -> set[Path]:
    """Where the data's own files are: images and segments."""
    return {path(index).parent for path in (data.image_path, data.segments_path) for index in range(len(data))}


def _compare(data: CocoPanoptic, index: int, ids: torch.Tensor, segments: Segments) -> dict[int, Counts]:
    truth_ids, truth = data.segments(index)
    known = {*data.category_ids, *data.stuff_category_ids}
    return compare_segments(truth_ids, truth, ids, segments, known, f"image {data.image_ids[index]}")


def _summary(data: CocoPanoptic, per_image: list[dict[int, Counts]]) -> dict[str, Any]:
    things = dict(zip(data.category_ids, data.class_names, strict=True))
    stuff = dict(zip(data.stuff_category_ids, data.stuff_names, strict=True))
    return summarize(per_image, things, stuff)
