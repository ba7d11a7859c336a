"""COCO's panoptic results: a PNG of segment ids for each image, and one JSON file that says what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from condinst.data.annotated import AnnotatedImages
from condinst.data.entry_checks import check_entries, check_segments_info
from condinst.data.ids import Id, IdTable
from condinst.data.json_files import read_json
from condinst.data.panoptic_png import write_segment_ids

Segments = list[dict[str, Any]]
CategoryIds = Sequence[int | str | None]
"""The category id of each panoptic label, None for a label whose segments become void."""


def known_segments(ids: Tensor, segments_info: Segments, category_ids: CategoryIds) -> tuple[Tensor, Segments]:
    """The segments of one image with category ids instead of labels; those of labels without a category become void.

    Args:
        ids: int32 [H, W], the segment of each pixel, 0 for void.
        segments_info: what the model says of each: `id`, `label` (panoptic label), `area` (px), of things `score`.
        category_ids: the category id of each panoptic label, None for one that is left out.

    Returns:
        ids int32 [H, W] on the CPU, and {"id", "category_id", "area", and "score" where there is one} for each segment
        that stays.

    Raises:
        ValueError: a label beyond the categories.
    """
    kept, dropped = [], []
    for segment in segments_info:
        label = segment["label"]
        if not 0 <= label < len(category_ids):
            raise ValueError(
                f"segments_info: expected labels in 0..{len(category_ids) - 1} (categories of the data), got {label}"
            )
        if category_ids[label] is None:
            dropped.append(segment["id"])
            continue
        entry = {"id": segment["id"], "category_id": category_ids[label], "area": segment["area"]}
        kept.append({**entry, "score": segment["score"]} if "score" in segment else entry)
    ids = ids.cpu()
    if dropped:
        gone = torch.isin(ids, torch.tensor(dropped, dtype=ids.dtype))
        ids = ids.masked_fill(gone, 0)
    return ids, kept


def png_name(image_id: int | str) -> str:
    """The name of the PNG of an image: 12 digits, or the text with %2F for / and so on; another for each id."""
    return f"{image_id:012d}.png" if isinstance(image_id, int) else f"{quote(image_id, safe='')}.png"


def write_panoptic_result(
    ids: Tensor,
    segments_info: Segments,
    category_ids: CategoryIds,
    image_id: int | str,
    path: str | Path,
) -> dict[str, Any]:
    """Writes the PNG of one image.

    The entries of all images make the results file, {"annotations": [...]}, that panopticapi and `condinst evaluate`
    read: `results/panoptic.json` beside the folder `results/panoptic` with the PNGs.

    Args:
        ids: int32 [H, W], the segment of each pixel, 0 for void. They are written as they are.
        segments_info: see `known_segments`.
        category_ids: the category id of each panoptic label, None for one whose segments become void.
        image_id: the image's id in the annotation file.
        path: of the PNG. Its folder is made.

    Returns:
        The entry of the image in the results file: `image_id`, `file_name` (the name of the PNG), `segments_info`.

    Raises:
        ValueError: a label beyond the categories.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ids, segments = known_segments(ids, segments_info, category_ids)
    write_segment_ids(ids, path)
    return {"image_id": image_id, "file_name": path.name, "segments_info": segments}


def read_panoptic_results(
    path: str | Path, data: AnnotatedImages | None = None, content: Any = None
) -> dict[int | str, tuple[Path, Segments]]:
    """What a results file says of each image.

    Args:
        path: the JSON file. Its PNGs are in the folder beside it with its stem, or where their `file_name` leads from
            the JSON file.
        data: the annotated images. Ids that differ from theirs in their type only, such as '7' and 7, are theirs. Where
            the results list `images`, too, their file names must be the same but for the folder, or they are of other
            images.
        content: what the file holds, where it is read already.

    Returns:
        Image id -> path of the PNG, and `id` and `category_id` of each segment.

    Raises:
        ValueError: a missing file, entries without the needed fields or with other values in them, two for one image,
            or other file names; the message names them.
    """
    path = Path(path)
    content = read_json(path) if content is None else content
    entries = content.get("annotations") if isinstance(content, dict) else None
    check_entries(path, entries, "annotations", ("image_id", "file_name", "segments_info"), "panoptic results")
    images = IdTable(() if data is None else data.image_ids)
    categories = IdTable(() if data is None else data.classes.panoptic_category_ids)
    results: dict[int | str, tuple[Path, Segments]] = {}
    for position, entry in enumerate(entries or ()):
        key = f"annotations[{position}].segments_info"
        check_segments_info(path, entry["segments_info"], key, "panoptic results")
        image_id = _known_id(entry["image_id"], images)
        if image_id in results:
            raise ValueError(f"{path}: expected one entry for each image, got two for image {image_id}")
        beside = path.with_suffix("") / entry["file_name"]
        png = beside if beside.is_file() else path.parent / entry["file_name"]
        segments = [
            {**info, "category_id": _known_id(info["category_id"], categories)} for info in entry["segments_info"]
        ]
        results[image_id] = (png if png.is_file() else beside, segments)
    if data is not None and "images" in content:
        _check_names(path, content["images"], data.images, images)
    return results


def _known_id(reference: Id, table: IdTable) -> Id:
    """The id of the data that a reference means; the reference itself where there is none."""
    known = table.find(reference)
    return reference if known is None else known


def _check_names(path: Path, entries: Any, images: Mapping[Any, dict[str, Any]], table: IdTable) -> None:
    """Raises where the file name of an image is another in the data."""
    check_entries(path, entries, "images", ("id", "file_name"), "panoptic results")
    for entry in entries:
        image = images.get(_known_id(entry["id"], table), entry)
        name = image["file_name"]
        if Path(entry["file_name"]).name != Path(name).name:
            raise ValueError(
                f"{path}: image {entry['id']}: expected results of {Path(name).name!r} as in the data, got"
                f" {entry['file_name']!r}"
            )
