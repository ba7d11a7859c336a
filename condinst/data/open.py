"""Training data by the path where it lies, whatever its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condinst.data.cityscapes import cityscapes_content, cityscapes_panoptic_content
from condinst.data.coco import CocoInstances
from condinst.data.entry_reader import entries_of
from condinst.data.json_files import read_json
from condinst.data.panoptic import CocoPanoptic


def open_instances(
    data: str | Path,
    images: str | Path | None = None,
    split: str = "train",
    *,
    progress: bool = False,
    need_images: bool = True,
) -> CocoInstances:
    """Opens annotated images.

    Args:
        data: a COCO instances JSON file; a folder in COCO's layout, `annotations/instances_<split>*.json` beside a
            folder of images of the same name, such as `train2017`; or Cityscapes' folder, with `leftImg8bit` and
            `gtFine` in it.
        images: the folder that the JSON's file names are relative to, where it is another: by default the one of a
            JSON file itself, or the one of COCO's layout.
        split: which part of a folder: "train", "val", or a longer name such as "train2017".
        progress: show a progress bar where reading takes minutes, as for Cityscapes.
        need_images: as for `open_panoptic`.

    Raises:
        ValueError: no such data; the message says what was looked for.
    """
    data = Path(data)
    if _is_cityscapes(data, images=images):
        content = cityscapes_content(data, split, progress=progress)
        return CocoInstances.from_content(content, data, data / "gtFine" / split)
    return CocoInstances(*_coco_files(data, images, "instances", split, need_images=need_images))


def open_panoptic(
    data: str | Path,
    images: str | Path | None = None,
    segments: str | Path | None = None,
    split: str = "train",
    *,
    progress: bool = False,
    need_images: bool = True,
) -> CocoPanoptic:
    """Opens images with the segments of things and stuff.

    Args:
        data: a COCO panoptic JSON file; a folder in COCO's layout, `annotations/panoptic_<split>*.json` beside a folder
            of images of the same name, such as `train2017`; or Cityscapes' folder, with `leftImg8bit` and `gtFine` in
            it.
        images: as for `open_instances`.
        segments: the folder of the PNG files, where it is another: by default the one beside the JSON file with its
            name without `.json`.
        split: which part of a folder: "train", "val", or a longer name such as "train2017".
        progress: show a progress bar where reading takes minutes, as for Cityscapes.
        need_images: ask for the folder of the images in COCO's layout, which may be missing where nothing reads them.

    Raises:
        ValueError: no such data; the message says what was looked for.
    """
    data = Path(data)
    if _is_cityscapes(data, images=images, segments=segments):
        content = cityscapes_panoptic_content(data, split, progress=progress)
        return CocoPanoptic.from_content(content, data, data / "gtFine" / split, segments_dir=data)
    annotations, folder = _coco_files(data, images, "panoptic", split, need_images=need_images)
    return CocoPanoptic(annotations, folder, segments)


def open_annotated(
    data: str | Path,
    images: str | Path | None = None,
    segments: str | Path | None = None,
    split: str = "train",
    *,
    task: str | None = None,
    progress: bool = False,
) -> CocoInstances | CocoPanoptic:
    """Opens images with instances or with segments of things and stuff.

    Args:
        data, images, segments, split, progress: as for `open_panoptic`.
        task: "instance" or "panoptic". By default a JSON file is what its annotations are, and a folder is instances,
            or panoptic with `segments`.

    Raises:
        ValueError: no such data; another `task`; `segments` with instances.
    """
    data = Path(data)
    if task is None and data.is_file():
        content = read_json(data)
        folder = images or data.parent
        if is_panoptic(content):
            return CocoPanoptic.from_content(content, folder, data, segments)
        _no_segments(data, segments)
        return CocoInstances.from_content(content, folder, data)
    if task == "panoptic" or (task is None and segments is not None):
        return open_panoptic(data, images, segments, split, progress=progress)
    if task not in (None, "instance"):
        raise ValueError(f"task: expected instance or panoptic, got {task!r}")
    _no_segments(data, segments)
    return open_instances(data, images, split, progress=progress)


def is_panoptic(content: Any) -> bool:
    """Whether the content of a COCO file is panoptic: whether its annotations are lists of segments."""
    annotations = entries_of(content.get("annotations")) if isinstance(content, dict) else None
    first = annotations[0] if annotations else None
    return isinstance(first, dict) and "segments_info" in first


def _no_segments(data: Path, segments: str | Path | None) -> None:
    if segments is not None:
        raise ValueError(f"segments: expected none with the instances of {data}, got {segments}")


def _is_cityscapes(data: Path, **folders: str | Path | None) -> bool:
    """Whether data is Cityscapes' folder, which has its own places for all `folders`."""
    if not (data / "leftImg8bit").is_dir():
        return False
    for name, folder in folders.items():
        if folder is not None:
            raise ValueError(f"{name}: expected none with Cityscapes' folder {data}, got {folder}")
    return True


def _coco_files(
    data: Path, images: str | Path | None, kind: str, split: str, *, need_images: bool = True
) -> tuple[Path, Path]:
    """The JSON file, and the folder of its images, that a path leads to."""
    if data.is_file():
        return data, Path(images or data.parent)
    if not data.is_dir():
        raise ValueError(f"{data}: no such file or folder")
    annotations = _find_annotations(data, kind, split)
    folder = Path(images) if images is not None else data / annotations.stem.removeprefix(f"{kind}_")
    if need_images and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected the images of {annotations} there")
    return annotations, folder


def _find_annotations(root: Path, kind: str, split: str) -> Path:
    """The one JSON file of a split in COCO's layout."""
    pattern = f"annotations/{kind}_{split}*.json"
    files = sorted(root.glob(pattern))
    exact = root / "annotations" / f"{kind}_{split}.json"
    if exact in files:
        return exact
    if len(files) > 1:
        names = ", ".join(path.stem.removeprefix(f"{kind}_") for path in files)
        raise ValueError(f"split: expected one of {names} in {root}, got {split!r}, which several begin with")
    if not files:
        raise ValueError(f"{root}: expected a folder with {pattern} (COCO) or with leftImg8bit and gtFine (Cityscapes)")
    return files[0]
