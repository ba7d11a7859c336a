"""Whether annotated data can be trained on, and what in it cannot: one answer for `train`, `evaluate`, `data check`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances
from condinst.data.findings import Effect, Finding, Findings
from condinst.data.object_fields import Box, agrees, mask_box, read_area, read_box
from condinst.data.panoptic import CocoPanoptic
from condinst.data.plain_objects import plain_objects
from condinst.data.segmentations import FILLED_HOLES, FLOAT_RUNS, OTHER_LISTS, Mask
from condinst.messages import shorten, shorten_text

NO_BOX = "boxes that are missing or no four numbers"
BOX_WITHOUT_AREA = "boxes without area"
BOX_OUTSIDE = "boxes that leave the image"
BOX_FAR = "boxes far from that of their mask"
BAD_AREA = "areas that are no positive number of pixels"

_EFFECTS = {"left out": "left out", "repaired": "read all the same"}
_REPAIRED = (FILLED_HOLES, FLOAT_RUNS, OTHER_LISTS)
_BATCH = 100  # images whose objects are tested together


@dataclasses.dataclass(frozen=True)
class Examined:
    """One annotation: its mask, the box (x1, y1, x2, y2) px of that, and its findings (kind, example, effect)."""

    mask: Mask
    box: Box
    findings: list[tuple[str, str, Effect]]

    @property
    def is_usable(self) -> bool:
        """Whether there is a mask with pixels."""
        return self.mask.problem is None


@dataclasses.dataclass(frozen=True)
class Survey:
    """What of a data set can be used.

    Args:
        name: the annotation file.
        num_objects: annotations that are no crowd regions.
        num_usable: those that have a mask with pixels in the image.
        num_empty: those whose mask has no pixel in the image. COCO's evaluation counts them as missed.
        num_left_out: objects of these images that were left out when the file was opened; of all images also those of
            no image that is there.
        num_crowds: crowd regions.
        findings: what is left out, and what is read in another way than it is written.
        images_with_objects: the indices of the images with usable objects.
    """

    name: str
    num_objects: int
    num_usable: int
    num_empty: int
    num_left_out: int
    num_crowds: int
    findings: list[Finding]
    images_with_objects: list[int]

    def __str__(self) -> str:
        """What is left out or read in another way, in one sentence; empty if there is nothing."""
        parts = []
        for effect in ("left out", "repaired"):
            texts = [shorten_text(str(finding)) for finding in self.findings if finding.effect == effect]
            if texts:
                parts.append(f"{_EFFECTS[effect]}: {'; '.join(texts)}")
        if not parts:
            return ""
        return f"{self.name}: {self.num_usable} of {self.num_objects} objects can be used; {'; '.join(parts)}"


def examine(data: CocoInstances, annotation: dict[str, Any], height: int, width: int) -> Examined:
    """The mask of an annotation, and what is unusual in its fields.

    Args:
        data: the annotated images.
        annotation: of one of them.
        height, width: of its image, px.
    """
    where = f"annotation {shorten(annotation['id'])} of image {shorten(annotation['image_id'])}"
    mask = data.mask(annotation, height, width)
    findings: list[tuple[str, str, Effect]] = []
    if mask.problem is not None:
        findings.append((mask.problem[0], f"{where}: {mask.problem[1]}", "left out"))
    for kind, detail in mask.notes:
        findings.append((kind, f"{where}: {detail}", "repaired" if kind in _REPAIRED else "left out"))
    area = annotation.get("area", 1)
    if read_area({"area": area}, height, width) is None:
        findings.append((BAD_AREA, f"{where}: {shorten(area)}", "repaired"))
    box = mask_box(mask, height, width)
    findings += _examine_box(annotation, box, mask.problem is None, where, height, width)
    return Examined(mask, box, findings)


def _examine_box(
    annotation: dict[str, Any], mask_box: Box, has_mask: bool, where: str, height: int, width: int
) -> list[tuple[str, str, Effect]]:
    """Findings of a box; one that contradicts its mask is replaced by that of the mask."""
    stated = read_box(annotation)
    if stated is None:
        return [(NO_BOX, f"{where}: {shorten(annotation.get('bbox'))}", "repaired")]
    x, y, w, h = stated
    corners = (x, y, x + w, y + h)
    findings: list[tuple[str, str, Effect]] = []
    if min(w, h) <= 0:
        return [(BOX_WITHOUT_AREA, f"{where}: {w} x {h}", "repaired")]
    if x < -1 or y < -1 or corners[2] > width + 1 or corners[3] > height + 1:
        findings.append((BOX_OUTSIDE, f"{where}: {_text(corners)} in an image of {width} x {height}", "suspicious"))
    if has_mask and not agrees(stated, mask_box, height, width):
        x1, y1, x2, y2 = stated
        as_corners = agrees((x1, y1, x2 - x1, y2 - y1), mask_box, height, width)
        hint = "; it fits if it is read as (x1, y1, x2, y2)" if as_corners else ""
        findings.append((BOX_FAR, f"{where}: {_text(corners)}, mask {_text(mask_box)}{hint}", "repaired"))
    return findings


def survey_instances(data: CocoInstances, count: int | None = None) -> Survey:
    """Looks at all annotations of the first `count` images, by default of all, without drawing most of them."""
    count = len(data) if count is None else count
    findings = Findings(data.findings.worst_first())
    num_objects = num_usable = num_empty = num_crowds = 0
    images_with_objects: dict[int, None] = {}
    for batch in _batches(range(count)):
        entries = [(index, annotation) for index in batch for annotation in data.annotations_of(index)]
        sizes = [data.image_size(index) for index, _ in entries]
        plain = plain_objects([annotation for _, annotation in entries], sizes)
        for (index, annotation), size, is_usable in zip(entries, sizes, plain, strict=True):
            is_empty = False
            if not is_usable:
                examined = examine(data, annotation, *size)
                is_usable, is_empty = examined.is_usable, examined.mask.is_empty
                for kind, example, effect in examined.findings:
                    findings.note(kind, example, effect)
            if annotation.get("iscrowd", 0):
                num_crowds += 1
                continue
            num_objects += 1
            num_empty += is_empty
            if is_usable:
                num_usable += 1
                images_with_objects[index] = None
    return Survey(
        name=str(data.annotations),
        num_objects=num_objects,
        num_usable=num_usable,
        num_empty=num_empty,
        num_left_out=_count_left_out(data, count),
        num_crowds=num_crowds,
        findings=findings.worst_first(),
        images_with_objects=list(images_with_objects),
    )


def _batches(indices: range) -> Iterator[range]:
    """Some images at a time."""
    for start in range(0, len(indices), _BATCH):
        yield indices[start : start + _BATCH]


def survey_panoptic(data: CocoPanoptic) -> Survey:
    """Counts the things of all images by the JSON file alone; the PNG files are read image by image."""
    things = [sum(map(data.is_object, data.segments_info(index))) for index in range(len(data))]
    stuff = set(data.classes.stuff_category_ids)
    num_stuff = sum(info["category_id"] in stuff for index in range(len(data)) for info in data.segments_info(index))
    return Survey(
        name=str(data.annotations),
        num_objects=sum(things),
        num_usable=sum(things),
        num_empty=0,
        num_left_out=_count_left_out(data, len(data)),
        num_crowds=data.num_annotations - sum(things) - num_stuff,
        findings=data.findings.worst_first(),
        images_with_objects=[index for index, number in enumerate(things) if number],
    )


def _count_left_out(data: AnnotatedImages, count: int) -> int:
    """Objects of the first `count` images that were left out when the file was opened."""
    if count == len(data):
        return data.objects_left_out.total()
    return sum(data.objects_left_out[image_id] for image_id in data.image_ids[:count])


def survey(data: AnnotatedImages) -> Survey:
    """What of annotated images can be used for training."""
    if isinstance(data, CocoPanoptic):
        return survey_panoptic(data)
    assert isinstance(data, CocoInstances)
    return survey_instances(data)


def refusal(data: AnnotatedImages, surveyed: Survey) -> str | None:
    """Why training cannot start on the data, in one sentence that names the annotation file; None if it can.

    Images with objects are read until one can be.

    Args:
        data: the annotated images.
        surveyed: what `survey` returns for them.
    """
    if not len(data):
        return f"{data.annotations}: expected at least one image to train on, got none"
    if not data.num_annotations:
        return f"{data.annotations}: expected at least one annotation to train on, got none"
    if not surveyed.num_usable:
        return nothing_usable(data, surveyed)
    problem = ""
    for index in surveyed.images_with_objects:
        try:
            data.image(index)
            if len(data.objects(index).labels):
                return None
        except (OSError, ValueError) as error:
            problem = problem or str(error)
    return (
        f"{data.annotations}: expected images to train on, but no image could be read of the"
        f" {len(surveyed.images_with_objects)} with objects: {problem}"
    )


def nothing_usable(data: AnnotatedImages, surveyed: Survey) -> str:
    """The sentence that says why no object of the data can be used."""
    reasons = [shorten_text(str(finding)) for finding in surveyed.findings if finding.effect == "left out"]
    if surveyed.num_crowds:
        reasons.insert(0, f"crowd regions: {surveyed.num_crowds}")
    return (
        f"{data.annotations}: expected objects with masks, but no object can be used ({surveyed.num_objects} objects in"
        f" {len(data)} images)" + "".join(f"; {reason}" for reason in reasons)
    )


def _text(box: Box) -> str:
    return "(" + ", ".join(f"{side:.4g}" for side in box) + ")"
