"""The entries of COCO panoptic files as different programs write them; see `condinst.data.dialects`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from condinst.data.dialects import ANNOTATIONS_LEFT_OUT, ORPHANS, OTHER_FLAGS, OTHER_ID_TYPES, read_categories
from condinst.data.entry_checks import LARGEST_SEGMENT_ID
from condinst.data.entry_reader import ID, Content, Entry, EntryReader, read_flag
from condinst.data.file_names import FILE_NAME, read_file_name
from condinst.data.ids import IdTable, check_unique, few_ids, read_id
from condinst.data.image_entries import IMAGES_LEFT_OUT, ImageEntries
from condinst.messages import shorten

_KEYS = ("images", "annotations", "categories")


def read_panoptic(content: Any, path: Path, images_dir: Path, segments_dir: Path) -> Content:
    """The entries of a panoptic file; each image has one annotation.

    Args:
        content: of the file. It is not changed.
        path: the file, for messages.
        images_dir: the folder of the images, from whose files missing sizes are taken.
        segments_dir: the folder of the PNG files.

    Raises:
        ValueError: nothing in it can be understood, a category does not say whether it is a thing, or two images,
            categories or annotations of images have one id; the message names the file and the entry.
    """
    reader = EntryReader(path, "panoptic")
    reader.check_kind(content, _KEYS)
    entries = reader.entries(content, "annotations")
    images = ImageEntries(reader, images_dir).read(content)
    categories = [_with_isthing(path, entry, at) for at, entry in enumerate(read_categories(reader, content))]
    if len(categories) > np.iinfo(np.int16).max:
        raise ValueError(f"{path}: categories: expected at most {np.iinfo(np.int16).max}")
    annotations = _read_annotations(reader, entries, images, categories, segments_dir)
    annotated = {annotation["image_id"] for annotation in annotations}
    bare = {image["id"] for image in images} - annotated
    if bare and not annotated:
        problems = reader.findings.with_effect("left out")
        raise ValueError(
            f"{path}: {problems[-1].examples[0] if problems else f'images without an annotation: {few_ids(bare)}'}"
        )
    for number in (image["id"] for image in images if image["id"] in bare):
        reader.leave_out(IMAGES_LEFT_OUT, f"image {shorten(number)}: no annotation")
    images = [image for image in images if image["id"] in annotated]
    return Content(images, categories, annotations, reader.findings, reader.objects_left_out)


def _with_isthing(path: Path, category: Entry, position: int) -> Entry:
    """A category whose `isthing` is 0 or 1.

    Raises:
        ValueError: the category has no such field, without which it is neither a thing nor stuff.
    """
    if category.get("isthing") is None:
        raise ValueError(f"{path}: categories[{position}]: missing isthing of a COCO panoptic file")
    flag = read_flag(category["isthing"])
    if flag is None:
        raise ValueError(
            f"{path}: categories[{position}]: isthing: expected 0 or 1, got {shorten(category['isthing'])}"
        )
    return category if type(category["isthing"]) is int else {**category, "isthing": flag}


def _read_annotations(
    reader: EntryReader,
    entries: Sequence[Any],
    images: Sequence[Entry],
    categories: Sequence[Entry],
    segments_dir: Path,
) -> list[Entry]:
    """The annotations of the images that are there; one that cannot be understood costs its image.

    Raises:
        ValueError: two of one image.
    """
    image_ids = IdTable(image["id"] for image in images)
    category_ids = IdTable(category["id"] for category in categories)
    annotations = []
    for position, entry in enumerate(entries):
        place = f"annotations[{position}]"
        reference = read_id(entry.get("image_id")) if isinstance(entry, dict) else None
        if reference is None:
            problem = "expected an object with " + ", ".join(("image_id", "file_name", "segments_info"))
            if isinstance(entry, dict):
                problem = f"image_id: expected {ID}, got {shorten(entry.get('image_id'))}"
            reader.leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: {problem}")
            reader.objects_left_out[None] += _count_segments(entry)
            continue
        number = image_ids.find(reference)
        if number is None:
            reader.leave_out(ORPHANS, f"{place}: image_id {shorten(reference)} is not among the images")
            reader.objects_left_out[None] += _count_segments(entry)
            continue
        if type(reference) is not type(number):
            reader.repair(OTHER_ID_TYPES, f"{place}: image_id {shorten(reference)} is read as {shorten(number)}")
        try:
            annotations.append(_read_annotation(reader, entry, place, number, category_ids, segments_dir))
        except ValueError as error:
            reader.leave_out(ANNOTATIONS_LEFT_OUT, str(error))
            reader.objects_left_out[None] += _count_segments(entry)  # the image is left out, too
    check_unique(reader.path, "annotations", "image_id", (annotation["image_id"] for annotation in annotations))
    return annotations


def _count_segments(entry: Any) -> int:
    """How many segments an annotation seems to have."""
    infos = entry.get("segments_info") if isinstance(entry, dict) else None
    return len(infos) if isinstance(infos, list) else 0


def _read_annotation(
    reader: EntryReader, entry: Entry, place: str, image_id: int | str, category_ids: IdTable, segments_dir: Path
) -> Entry:
    """The annotation of one image.

    Raises:
        ValueError: it names no PNG file, or a segment is bad, whose pixels would then be of another one.
    """
    for field in ("file_name", "segments_info"):
        if field not in entry:
            raise ValueError(f"{place}: missing {field} of a COCO panoptic file")
    name = read_file_name(entry["file_name"], segments_dir)
    if name is None:
        raise ValueError(f"{place}: file_name: expected {FILE_NAME}, got {shorten(entry['file_name'])}")
    where = f"image {shorten(image_id)}: segments_info"
    infos = entry["segments_info"]
    if not isinstance(infos, list):
        raise ValueError(f"expected a list under {where!r}, as in a COCO panoptic file")
    segments = [_read_segment(reader, info, where, at, category_ids) for at, info in enumerate(infos)]
    ids = [segment["id"] for segment in segments]
    twice = {number for number in ids if ids.count(number) > 1} if len(set(ids)) < len(ids) else set()
    if twice:
        raise ValueError(f"{where}: ids that are used twice: {few_ids(twice)}")
    return {**entry, "image_id": image_id, "file_name": name, "segments_info": segments}


def _read_segment(reader: EntryReader, info: Any, where: str, position: int, category_ids: IdTable) -> Entry:
    """One entry of `segments_info`.

    Raises:
        ValueError: it is none.
    """
    place = f"{where}[{position}]"
    if not isinstance(info, dict):
        raise ValueError(f"{place}: expected an object with id, category_id")
    missing = [field for field in ("id", "category_id") if field not in info]
    if missing:
        raise ValueError(f"{place}: missing {', '.join(missing)} of a COCO panoptic file")
    number, reference = read_id(info["id"]), read_id(info["category_id"])
    if not isinstance(number, int) or not 0 < number <= LARGEST_SEGMENT_ID:
        raise ValueError(f"{place}: id: expected a whole number of at least 1, got {shorten(info['id'])}")
    if reference is None:
        raise ValueError(f"{place}: category_id: expected {ID}, got {shorten(info['category_id'])}")
    category = category_ids.find(reference)
    if category is None:
        raise ValueError(
            f"{where}: id {number}: category_id {shorten(info['category_id'])} is not among the categories"
        )
    if type(reference) is not type(category):
        reader.repair(OTHER_ID_TYPES, f"{place}: category_id {shorten(reference)} is read as {shorten(category)}")
    flag = read_flag(info.get("iscrowd"))
    if flag is None:
        raise ValueError(f"{place}: iscrowd: expected 0 or 1, got {shorten(info['iscrowd'])}")
    usual = type(info.get("iscrowd", 0)) is int and category is info["category_id"] and number is info["id"]
    if not usual and info.get("iscrowd", 0) is not flag:
        message = f"{place}: iscrowd {shorten(info.get('iscrowd'))} is read as {flag}"
        reader.repair(OTHER_FLAGS, message)
    return info if usual else {**info, "id": number, "category_id": category, "iscrowd": flag}
