"""What a data set holds, and what in it looks wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pycocotools import mask as coco_mask

from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances, compress
from condinst.progress import track

_EXAMPLES = 5
_SMALL, _MEDIUM = 32**2, 96**2  # COCO's limits of areas, in pixels

UNREADABLE = "images missing, unreadable or of another size"
BAD_SEGMENTATION = "annotations with a bad segmentation"
NO_IMAGES = "no images"
NO_OBJECTS = "no objects"
UNREADABLE_SEGMENTS = "segment files missing, unreadable or of another size"
OTHER_SEGMENTS = "segment files with other ids than the JSON"
NO_SEGMENTS = "no segments"
NO_THING_CATEGORIES = "no categories of things"
TRAINING_BREAKS = (
    *(UNREADABLE, BAD_SEGMENTATION, NO_IMAGES, NO_OBJECTS),
    *(UNREADABLE_SEGMENTS, OTHER_SEGMENTS, NO_SEGMENTS, NO_THING_CATEGORIES),
)
"""Kinds of findings on which training stops, or leaves out whole images."""


@dataclasses.dataclass
class Finding:
    """Something that looks wrong.

    Args:
        kind: what.
        count: how often.
        examples: the first few, with their ids.
    """

    kind: str
    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    @property
    def breaks_training(self) -> bool:
        """Whether training stops on it, or leaves out whole images."""
        return self.kind in TRAINING_BREAKS

    def add(self, example: str) -> None:
        """Counts one."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


class Findings:
    """What looks wrong, by kind."""

    def __init__(self) -> None:
        self._of_kind: dict[str, Finding] = {}

    def note(self, kind: str, example: str) -> None:
        """Counts one of a kind."""
        self._of_kind.setdefault(kind, Finding(kind)).add(example)

    def worst_first(self) -> list[Finding]:
        """Those that break training, then the others, each in the order in which they came."""
        return sorted(self._of_kind.values(), key=lambda finding: not finding.breaks_training)


@dataclasses.dataclass
class DataReport:
    """Counts and findings of a data set of instances.

    Args:
        name: its annotation file.
        num_images: images in it.
        num_images_without_objects: those that have none but crowd regions.
        num_objects: annotations that are no crowd regions.
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
    num_crowds: int
    most_objects: int
    categories: list[dict[str, Any]]
    image_sizes: dict[str, tuple[int, int]]
    object_sizes: dict[str, int]
    findings: list[Finding]

    @property
    def breaks_training(self) -> bool:
        """Whether training stops on something found, or leaves out whole images."""
        return any(finding.breaks_training for finding in self.findings)


def check_instances(data: CocoInstances, *, progress: bool = False) -> DataReport:
    """Reads all images and annotations and looks for what would hurt training.

    Args:
        data: what is checked. Unknown ids, and entries without their fields, were refused when it was opened.
        progress: show a progress bar.
    """
    findings = Findings()
    note = findings.note
    with ThreadPoolExecutor() as pool:  # decoding images leaves Python's lock alone
        problems = pool.map(lambda index: image_problem(data, index), range(len(data)))
        for problem in track(problems, "Reading images", len(data), shown=progress):
            if problem is not None:
                note(UNREADABLE, problem)

    crowds = 0
    objects_of_image = []
    objects_of_category: Counter[int | str] = Counter()
    object_sizes = {"small": 0, "medium": 0, "large": 0}
    for index in track(range(len(data)), "Checking annotations", len(data), shown=progress):
        annotations = data.coco.imgToAnns[data.image_ids[index]]
        objects = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
        crowds += len(annotations) - len(objects)
        objects_of_image.append(len(objects))
        objects_of_category.update(annotation["category_id"] for annotation in objects)
        for area, found in _check_image(data, index, annotations):
            for kind, example in found:
                note(kind, example)
            if area:
                object_sizes["small" if area < _SMALL else "medium" if area < _MEDIUM else "large"] += 1
    for key in ("images", "annotations", "categories"):
        ids = Counter(entry["id"] for entry in data.coco.dataset[key])
        for number in (number for number, times in ids.items() if times > 1):
            note(f"ids of {key} that are used twice", str(number))
    categories = [
        {"id": number, "name": name, "objects": objects_of_category[number]}
        for number, name in zip(data.classes.category_ids, data.classes.class_names, strict=True)
    ]
    for category in categories:
        if not category["objects"]:
            note("categories without objects", f"{category['id']} ({category['name']})")
    if not len(data):
        note(NO_IMAGES, str(data.annotations))
    if not sum(objects_of_image):
        note(NO_OBJECTS, str(data.annotations))

    return DataReport(
        name=str(data.annotations),
        num_images=len(data),
        num_images_without_objects=objects_of_image.count(0),
        num_objects=sum(objects_of_image),
        num_crowds=crowds,
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


def image_problem(data: AnnotatedImages, index: int) -> str | None:
    """Why an image cannot be read, or None."""
    try:
        data.image(index)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _check_image(
    data: CocoInstances, index: int, annotations: list[dict[str, Any]]
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """For each annotation of an image the area of its mask, 0 for crowd regions, and its findings (kind, example)."""
    height, width = data.image_size(index)
    seen: dict[tuple[int, bytes], int] = {}
    for annotation in annotations:
        where = f"annotation {annotation['id']} of image {annotation['image_id']}"
        found = []
        x, y, w, h = annotation["bbox"]
        box = (x, y, x + w, y + h)
        if min(w, h) <= 0:
            found.append(("boxes without area", f"{where}: {w} x {h}"))
        elif x < -1 or y < -1 or box[2] > width + 1 or box[3] > height + 1:
            found.append(("boxes that leave the image", f"{where}: {_text(box)} in an image of {width} x {height}"))
        try:
            segmentation = data.segmentation(annotation, height, width)
        except ValueError as error:
            yield 0, [*found, (BAD_SEGMENTATION, str(error))]
            continue
        if segmentation is None:
            yield 0, [*found, ("masks without area", where)]
            continue
        code = compress(segmentation, height, width)
        x, y, w, h = coco_mask.toBbox(code).tolist()
        mask_box = (x, y, x + w, y + h)
        if _far(box, mask_box, height, width):
            found.append(("boxes far from that of their mask", f"{where}: {_text(box)}, mask {_text(mask_box)}"))
        if annotation.get("iscrowd", 0):
            yield 0, found
            continue
        first = seen.setdefault((annotation["category_id"], code["counts"]), annotation["id"])
        if first != annotation["id"]:
            found.append(("annotations that are there twice", f"{where}: the same as {first}"))
        yield int(coco_mask.area(code)), found


def _far(box: tuple[float, ...], mask_box: tuple[float, ...], height: int, width: int) -> bool:
    """Whether a side of a box, within the image, is more than 5 px and a tenth of the mask away from the mask's."""
    tolerance = max(5.0, 0.1 * max(mask_box[2] - mask_box[0], mask_box[3] - mask_box[1]))
    limits = (width, height, width, height)
    inside = [min(max(side, 0), limit) for side, limit in zip(box, limits, strict=True)]
    return any(abs(side - other) > tolerance for side, other in zip(inside, mask_box, strict=True))


def _text(box: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{side:.4g}" for side in box) + ")"
