"""Cityscapes as its own folders have it, in COCO's form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from condinst.data.panoptic import UNLISTED_IDS_ARE_VOID
from condinst.data.panoptic_png import read_instance_ids
from condinst.data.rles import rle_to_json
from condinst.data.segment_runs import SegmentRuns
from condinst.progress import track

CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Label id -> name of the classes whose instances are evaluated. Caravans (29) and trailers (30) are not."""

STUFF = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
}
"""Label id -> name of the other classes that are evaluated."""

_IMAGE_END, _IDS_END = "_leftImg8bit.png", "_gtFine_instanceIds.png"


def cityscapes_content(root: str | Path, split: str = "train", *, progress: bool = False) -> dict[str, Any]:
    """Cityscapes' fine annotations of a split as the content of a COCO instances file.

    An instance is the pixels of `label id * 1000 + number` in gtFine's instanceIds; the pixels of a bare label id are a
    group that nobody separated, a crowd region. Category ids are Cityscapes' label ids. The result can be written as
    JSON, which is faster to read again.

    Args:
        root: the folder with leftImg8bit and gtFine; file names are relative to it.
        split: "train", "val" or "test" (whose annotations are not public).
        progress: show a progress bar.

    Raises:
        ValueError: no images of this split, or a file of gtFine that is missing or no such image; it is named.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, _, objects in _read_split(Path(root), split, _objects, progress):
        images.append(image)
        for entry in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **entry})
    categories = [{"id": label, "name": name} for label, name in CLASSES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def cityscapes_panoptic_content(root: str | Path, split: str = "train", *, progress: bool = False) -> dict[str, Any]:
    """Cityscapes' fine annotations of a split as the content of a COCO panoptic file.

    Its PNG files are gtFine's instanceIds, whose numbers are the segment ids. The pixels of a bare label id are stuff,
    or a crowd region of a class that has instances. Classes that are not evaluated are void. Category ids are
    Cityscapes' label ids.

    Args:
        root: the folder with leftImg8bit and gtFine; file names, also those of the segments, are relative to it.
        split: "train", "val" or "test" (whose annotations are not public).
        progress: show a progress bar.

    Raises:
        ValueError: as of `cityscapes_content`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, ids_path, infos in _read_split(Path(root), split, _segments, progress):
        images.append(image)
        annotations.append({"image_id": image["id"], "file_name": ids_path, "segments_info": infos})
    categories = [
        {"id": label, "name": name, "isthing": int(label in CLASSES)}
        for label, name in sorted((CLASSES | STUFF).items())
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {**content, UNLISTED_IDS_ARE_VOID: True}


def _read_split(
    root: Path, split: str, read: Callable[[SegmentRuns], list[dict[str, Any]]], progress: bool
) -> Iterator[tuple[dict[str, Any], str, list[dict[str, Any]]]]:
    """Of each image its entry, its file of ids relative to `root`, and what `read` makes of that."""
    folder = root / "leftImg8bit" / split
    paths = sorted(folder.glob(f"*/*{_IMAGE_END}"))
    if not paths:
        raise ValueError(f"{folder}: no images <city>/*{_IMAGE_END}")
    ids_paths = [
        root / "gtFine" / split / path.parent.name / (path.name.removesuffix(_IMAGE_END) + _IDS_END) for path in paths
    ]

    def read_file(path: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
        runs = SegmentRuns(read_instance_ids(path))
        return runs.size, read(runs)

    with ThreadPoolExecutor() as pool:  # decoding PNG files leaves Python's lock alone
        contents = track(pool.map(read_file, ids_paths), "Reading gtFine", len(paths), shown=progress)
        for image_id, (path, ids_path, (size, entries)) in enumerate(
            zip(paths, ids_paths, contents, strict=True), start=1
        ):
            name = path.relative_to(root).as_posix()
            image = {"id": image_id, "file_name": name, "height": size[0], "width": size[1]}
            yield image, ids_path.relative_to(root).as_posix(), entries


def _objects(runs: SegmentRuns) -> list[dict[str, Any]]:
    """The annotations of one image, without their ids."""
    annotations = []
    for number, area in zip(runs.ids, runs.areas, strict=True):
        if _label(number) in CLASSES:
            code = runs.rle(number)
            box = rle.toBbox(code).tolist()
            annotations.append({**_entry(number, area), "bbox": box, "segmentation": rle_to_json(code)})
    return annotations


def _segments(runs: SegmentRuns) -> list[dict[str, Any]]:
    """The segments of one image."""
    return [
        {"id": number, **_entry(number, area), "bbox": rle.toBbox(runs.rle(number)).astype(int).tolist()}
        for number, area in zip(runs.ids, runs.areas, strict=True)
        if _label(number) in CLASSES or _label(number) in STUFF
    ]


def _entry(number: int, area: int) -> dict[str, Any]:
    """What annotations and segments of an instance id have in common."""
    label = _label(number)
    return {"category_id": label, "iscrowd": int(number < 1000 and label in CLASSES), "area": area}


def _label(number: int) -> int:
    """The label id of an instance id."""
    return number // 1000 if number >= 1000 else number
