"""Cityscapes as its own folders have it, in COCO's form."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from rich.progress import track

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
    root = Path(root)
    folder = root / "leftImg8bit" / split
    paths = sorted(folder.glob(f"*/*{_IMAGE_END}"))
    if not paths:
        raise ValueError(f"{folder}: no images <city>/*{_IMAGE_END}")
    with ThreadPoolExecutor() as pool:  # decoding PNG files leaves Python's lock alone
        found = pool.map(lambda path: _objects(_ids_path(root, split, path)), paths)
        sizes_and_objects = list(track(found, "Reading gtFine", len(paths), disable=not progress))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (path, (size, objects)) in enumerate(zip(paths, sizes_and_objects, strict=True), start=1):
        name = path.relative_to(root).as_posix()
        images.append({"id": image_id, "file_name": name, "height": size[0], "width": size[1]})
        for entry in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **entry})
    categories = [{"id": label, "name": name} for label, name in CLASSES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _ids_path(root: Path, split: str, image: Path) -> Path:
    """The file of gtFine for an image."""
    return root / "gtFine" / split / image.parent.name / (image.name.removesuffix(_IMAGE_END) + _IDS_END)


def _objects(path: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """(height, width) and the annotations of one file, without their ids."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with Image.open(path) as opened:
            ids = np.array(opened)
    except Exception as error:  # PIL's decoders raise whatever they stumble over
        raise ValueError(f"{path}: damaged or unreadable image: {error}") from error
    if ids.ndim != 2:
        raise ValueError(f"{path}: expected one number per pixel, got {list(ids.shape)}")
    height, width = ids.shape
    # Runs of all objects in one pass down the columns: a mask for each of them would take far longer.
    pixels = ids.T.ravel().astype(np.int64)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(pixels)) + 1])
    ends = np.append(begins[1:], pixels.size)
    owners = pixels[begins]
    annotations = []
    for owner in np.unique(owners).tolist():
        label = owner // 1000 if owner >= 1000 else owner
        if label not in CLASSES:
            continue
        own = owners == owner
        changes = np.stack([begins[own], ends[own]], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
        code = rle.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        annotations.append(
            {
                "category_id": label,
                "iscrowd": int(owner < 1000),
                "bbox": rle.toBbox(code).tolist(),
                "area": int(rle.area(code)),
                "segmentation": {"size": [height, width], "counts": code["counts"].decode()},
            }
        )
    return (height, width), annotations
