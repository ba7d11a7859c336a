"""The entries of COCO files as different programs write them, brought to one form when a file is opened.

What is the same in all programs stays the same object. An entry that cannot be understood is left out; an error is
raised only where nothing can be understood, or where leaving something out would give an image wrong objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from condinst.data.entry_reader import ID, Content, Entry, EntryReader, entries_of, read_flag, same_value
from condinst.data.ids import Id, IdTable, check_unique, is_text, read_id
from condinst.data.image_entries import ImageEntries
from condinst.messages import shorten

ANNOTATIONS_LEFT_OUT = "annotations that are left out"
ORPHANS = "annotations whose image or category is not in the file"
OTHER_ID_TYPES = "ids that are text in one place and a number in another"
OTHER_FLAGS = "values of iscrowd other than 0 and 1"
CATEGORIES_LEFT_OUT = "categories that are left out"
UNNAMED_CATEGORIES = "categories without a name, which are named by their ids"

_ID_TYPES = (int, str)


@dataclasses.dataclass(frozen=True)
class _Known:
    """The ids of images and categories that are there, and of images that are left out."""

    images: IdTable
    categories: IdTable
    left_out_images: Set[Id]


def read_instances(content: Any, path: Path, images_dir: Path) -> Content:
    """The entries of an instances file.

    Args:
        content: of the file. It is not changed.
        path: the file, for messages.
        images_dir: the folder of the images, from whose files missing sizes are taken.

    Raises:
        ValueError: nothing in it can be understood, or two images or categories have one id; the message names the
            file and the entry.
    """
    reader = EntryReader(path, "instances")
    reader.check_kind(content, ("images", "categories", "annotations"))
    image_entries = ImageEntries(reader, images_dir)
    images = image_entries.read(content)
    categories = read_categories(reader, content, entries_of(content.get("annotations")) or ())
    annotations = read_annotations(
        reader, reader.entries(content, "annotations"), images, categories, image_entries.left_out
    )
    return Content(images, categories, annotations, reader.findings, reader.objects_left_out)


def read_categories(reader: EntryReader, content: Mapping[str, Any], annotations: Sequence[Any] = ()) -> list[Entry]:
    """The categories of the file; without any, those that the annotations name.

    Raises:
        ValueError: there is no list and no annotation names a category, all entries are bad, or an id is there
            twice.
    """
    named = _category_ids(annotations)
    entries = named if not content.get("categories") and named else reader.entries(content, "categories")
    categories = []
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or "id" not in entry:
            missing = "expected an object with id, name" if not isinstance(entry, dict) else "missing id"
            reader.leave_out(CATEGORIES_LEFT_OUT, f"categories[{position}]: {missing}")
            continue
        number, name = read_id(entry["id"]), entry.get("name")
        if number is None:
            reader.leave_out(
                CATEGORIES_LEFT_OUT, f"categories[{position}]: id: expected {ID}, got {shorten(entry['id'])}"
            )
            continue
        if name is None or isinstance(name, (list, dict)) or (isinstance(name, str) and not is_text(name)):
            name = str(number)
            reader.repair(UNNAMED_CATEGORIES, f"categories[{position}]: id {shorten(number)}")
        same = same_value(entry["id"], number) and entry.get("name") is name
        categories.append(entry if same else {**entry, "id": number, "name": name})
    if entries and not categories:
        raise ValueError(f"{reader.path}: {reader.findings.first_example()}")
    check_unique(reader.path, "categories", "id", (category["id"] for category in categories))
    return categories


def read_annotations(
    reader: EntryReader,
    entries: Sequence[Any],
    images: Sequence[Entry],
    categories: Sequence[Entry],
    left_out_images: Set[Id],
) -> list[Entry]:
    """The annotations of the images that are there.

    Raises:
        ValueError: all entries are bad.
    """
    known = _Known(
        IdTable(image["id"] for image in images), IdTable(category["id"] for category in categories), left_out_images
    )
    known_images, known_categories = known.images.exact, known.categories.exact
    annotations = []
    for position, entry in enumerate(entries):
        try:  # nearly all entries of nearly all files pass here, so that opening a file stays fast
            image, category = entry["image_id"], entry["category_id"]
            usual = (
                type(image) in _ID_TYPES
                and image in known_images
                and type(category) in _ID_TYPES
                and category in known_categories
                and type(entry["id"]) in _ID_TYPES
                and entry.get("iscrowd", 0) in (0, 1)
                and "segmentation" in entry
                and "bbox" in entry
            )
        except (KeyError, TypeError, IndexError, AttributeError):
            usual = False
        annotation = entry if usual else _read_annotation(reader, position, entry, known)
        if annotation is not None:
            annotations.append(annotation)
            continue
        reference = read_id(entry.get("image_id")) if isinstance(entry, dict) else None
        reader.objects_left_out[None if reference is None else known.images.find(reference)] += 1
    if entries and not annotations:
        problems = reader.findings.with_effect("left out")
        counts = ", ".join(f"{finding.kind}: {finding.count}" for finding in problems)
        raise ValueError(
            f"{reader.path}: {problems[-1].examples[0]}; none of {len(entries)} annotations can be used ({counts})"
        )
    return annotations


def _read_annotation(reader: EntryReader, position: int, entry: Any, known: _Known) -> Entry | None:
    """One annotation; None if it is left out."""
    place = f"annotations[{position}]"
    if not isinstance(entry, dict):
        reader.leave_out(
            ANNOTATIONS_LEFT_OUT, f"{place}: expected an object with id, image_id, category_id, segmentation"
        )
        return None
    number = read_id(entry.get("id"))
    where = place if number is None else f"annotation {shorten(number)}"
    changed: Entry = {"id": place if number is None else number}
    for field, table in (("image_id", known.images), ("category_id", known.categories)):
        if field not in entry:
            reader.leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: missing {field} of a COCO {reader.kind} file")
            return None
        value = entry[field]
        reference = read_id(value)
        if reference is None:
            reader.leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: {field}: expected {ID}, got {shorten(value)}")
            return None
        known_id = table.find(reference)
        if known_id is None:
            if field == "image_id" and reference in known.left_out_images:
                reader.leave_out(ANNOTATIONS_LEFT_OUT, f"{where}: image {shorten(reference)} is left out")
            else:
                things = "images" if field == "image_id" else "categories"
                reader.leave_out(ORPHANS, f"{where}: {field} {shorten(value)} is not among the {things}")
            return None
        if type(reference) is not type(known_id):
            message = f"{where}: {field} {shorten(value)} is read as {shorten(known_id)}"
            reader.repair(OTHER_ID_TYPES, message)
        changed[field] = known_id
    flag = read_flag(entry.get("iscrowd"))
    if flag is None:
        reader.leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: iscrowd: expected 0 or 1, got {shorten(entry['iscrowd'])}")
        return None
    if "iscrowd" in entry and not same_value(entry["iscrowd"], flag):
        message = f"{where}: iscrowd {shorten(entry['iscrowd'])} is read as {flag}"
        reader.repair(OTHER_FLAGS, message)
        changed["iscrowd"] = flag
    return {"bbox": None, "segmentation": None, **entry, **changed}


def _category_ids(annotations: Sequence[Any]) -> list[Entry]:
    """An entry for each category that annotations name."""
    ids = {read_id(entry.get("category_id")): None for entry in annotations if isinstance(entry, dict)}
    return [{"id": number} for number in ids if number is not None]
