"""Training data by the path where it lies, whatever its layout."""

from __future__ import annotations

from pathlib import Path

from condinst.data.cityscapes import cityscapes_content
from condinst.data.coco import CocoInstances


def open_instances(
    data: str | Path, images: str | Path | None = None, split: str = "train", *, progress: bool = False
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

    Raises:
        ValueError: no such data; the message says what was looked for.
    """
    data = Path(data)
    if data.is_file():
        return CocoInstances(data, images or data.parent)
    if not data.is_dir():
        raise ValueError(f"{data}: no such file or folder")
    if (data / "leftImg8bit").is_dir():
        if images is not None:
            raise ValueError(f"images: expected none with Cityscapes' folder {data}, got {images}")
        content = cityscapes_content(data, split, progress=progress)
        return CocoInstances.from_content(content, data, data / "gtFine" / split)
    annotations = _find_annotations(data, split)
    folder = Path(images) if images is not None else data / annotations.stem.removeprefix("instances_")
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected the images of {annotations} there")
    return CocoInstances(annotations, folder)


def _find_annotations(root: Path, split: str) -> Path:
    """The one JSON file of a split in COCO's layout."""
    pattern = f"annotations/instances_{split}*.json"
    found = sorted(root.glob(pattern))
    exact = root / "annotations" / f"instances_{split}.json"
    if exact in found:
        return exact
    if len(found) > 1:
        names = ", ".join(path.stem.removeprefix("instances_") for path in found)
        raise ValueError(f"split: expected one of {names} in {root}, got {split!r}, which several begin with")
    if not found:
        raise ValueError(f"{root}: expected a folder with {pattern} (COCO) or with leftImg8bit and gtFine (Cityscapes)")
    return found[0]
