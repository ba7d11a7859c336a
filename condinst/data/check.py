"""What a data set holds, and what in it looks wrong."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pycocotools import mask as coco_mask

from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances
from condinst.data.findings import Effect, Finding, Findings
from condinst.data.image_headers import read_header
from condinst.data.usable import examine, refusal, survey_instances
from condinst.messages import shorten
from condinst.progress import track

Note = tuple[str, str, Effect]
"""A kind of finding, an example of it, and what follows from it."""


_SMALL, _MEDIUM = 32**2, 96**2  # COCO's limits of areas, in pixels
_DARK = 16
"""The largest value of 255 in a picture of 12 bits that was stored in 16."""

UNREADABLE = "images missing, unreadable or of another size"
NEARLY_BLACK = "images that are nearly black"
TURNED = "images that EXIF turns without a change of their size"
SHARED_FILES = "files that several images name"
REFUSED = "training is refused"


@dataclasses.dataclass
class DataReport:
    """Counts and findings of a data set of instances.

    Args:
        name: its annotation file.
        num_images: images in it.
        num_images_without_objects: those that have none but crowd regions.
        num_objects: annotations that are no crowd regions.
        num_usable: those that have a mask with pixels in the image.
        num_crowds: crowd regions.
        most_objects: of one image.
        categories: `id`, `name` and `objects`, their number, of each category.
        image_sizes: `smallest` and `largest`, (height, width), by area.
        object_sizes: number of objects with a mask of `small` (below 32^2 px), `medium` (below 96^2) and `large` area.
        findings: what looks wrong, the worst first.
    """

    name: str
    num_images: int
    num_images_without_objects: int
    num_objects: int
    num_usable: int
    num_crowds: int
    most_objects: int
    categories: list[dict[str, Any]]
    image_sizes: dict[str, tuple[int, int]]
    object_sizes: dict[str, int]
    findings: list[Finding]

    @property
    def breaks_training(self) -> bool:
        """Whether `condinst train` refuses the data."""
        return any(finding.breaks_training for finding in self.findings)


def check_instances(data: CocoInstances, *, progress: bool = False) -> DataReport:
    """Reads all images and annotations and looks for what would hurt training. Masks stay run lengths.

    Args:
        data: what is checked.
        progress: show a progress bar.
    """
    findings = Findings(data.findings.worst_first())
    surveyed = survey_instances(data)
    problem = refusal(data, surveyed)
    if problem is not None:
        findings.note(REFUSED, problem, "refused")
    check_images(data, findings, progress=progress)

    objects_of_image = []
    objects_of_category: Counter[int | str] = Counter()
    object_sizes = {"small": 0, "medium": 0, "large": 0}
    for index in track(range(len(data)), "Checking annotations", len(data), shown=progress):
        annotations = data.annotations_of(index)
        objects = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
        objects_of_image.append(len(objects))
        objects_of_category.update(annotation["category_id"] for annotation in objects)
        for area, notes in _check_image(data, index, annotations):
            for note in notes:
                findings.note(*note)
            if area:
                object_sizes["small" if area < _SMALL else "medium" if area < _MEDIUM else "large"] += 1
    numbers = Counter(annotation["id"] for annotation in data.coco.dataset["annotations"])
    for number in (number for number, times in numbers.items() if times > 1):
        findings.note("ids of annotations that are used twice", shorten(number))
    categories = [
        {"id": number, "name": name, "objects": objects_of_category[number]}
        for number, name in zip(data.classes.category_ids, data.classes.class_names, strict=True)
    ]
    for category in categories:
        if not category["objects"]:
            findings.note("categories without objects", f"{category['id']} ({category['name']})")

    return DataReport(
        name=str(data.annotations),
        num_images=len(data),
        num_images_without_objects=objects_of_image.count(0),
        num_objects=surveyed.num_objects,
        num_usable=surveyed.num_usable,
        num_crowds=surveyed.num_crowds,
        most_objects=max(objects_of_image, default=0),
        categories=categories,
        image_sizes=extreme_sizes(data),
        object_sizes=object_sizes,
        findings=findings.worst_first(),
    )


def extreme_sizes(data: AnnotatedImages) -> dict[str, tuple[int, int]]:
    """(height, width) of the `smallest` and the `largest` image by area; nothing without images."""
    sizes = sorted((data.image_size(index) for index in range(len(data))), key=lambda size: size[0] * size[1])
    return {"smallest": sizes[0], "largest": sizes[-1]} if sizes else {}


def check_images(data: AnnotatedImages, findings: Findings, *, progress: bool) -> None:
    """Reads all images, and notes those that cannot be used or look wrong, and files that two of them share."""
    with ThreadPoolExecutor() as pool:  # decoding images leaves Python's lock alone
        checked = pool.map(lambda index: image_notes(data, index), range(len(data)))
        for notes in track(checked, "Reading images", len(data), shown=progress):
            for note in notes:
                findings.note(*note)
    first_of_file: dict[str, int | str] = {}
    for index, image_id in enumerate(data.image_ids):
        path = os.path.normpath(data.image_path(index))
        first = first_of_file.setdefault(path, image_id)
        if first != image_id:
            findings.note(SHARED_FILES, f"{path}: images {shorten(first)} and {shorten(image_id)}")


def image_notes(data: AnnotatedImages, index: int) -> list[Note]:
    """Why an image cannot be read, or what looks wrong in it."""
    path = data.image_path(index)
    try:
        largest = int(data.image(index).max())
    except (OSError, ValueError) as error:
        return [(UNREADABLE, str(error), "left out")]
    header = read_header(path)
    if header is None:
        return []
    notes: list[Note] = []
    if largest <= _DARK and (largest > 0 or header.deep):
        hint = "; data of 10 or 12 bits in 16? Scale it to the whole range of its type" if header.deep else ""
        notes.append((NEARLY_BLACK, f"{path}: no value above {largest} of 255{hint}", "suspicious"))
    if header.orientation != 1 and header.upright_size == (header.height, header.width):
        message = (
            f"{path}: orientation {header.orientation}; images are read upright, and the size does not show whether the"
            " annotations are, too"
        )
        notes.append((TURNED, message, "suspicious"))
    return notes


def _check_image(
    data: CocoInstances, index: int, annotations: list[dict[str, Any]]
) -> Iterator[tuple[int, list[Note]]]:
    """For each annotation of an image the area of its mask, 0 for crowd regions and objects without, and its notes."""
    height, width = data.image_size(index)
    seen: dict[tuple[int | str, bytes], int | str] = {}
    for annotation in annotations:
        examined = examine(data, annotation, height, width)
        if not examined.is_usable or annotation.get("iscrowd", 0):
            yield 0, examined.findings
            continue
        code = examined.mask.rle(height, width)
        first = seen.setdefault((annotation["category_id"], code["counts"]), annotation["id"])
        notes = list(examined.findings)
        if first != annotation["id"]:
            where = f"annotation {shorten(annotation['id'])} of image {shorten(annotation['image_id'])}"
            notes.append(("annotations that are there twice", f"{where}: the same as {first}", "suspicious"))
        yield int(coco_mask.area(code)), notes
