"""The entries of COCO files as different programs write them, brought to one form when a file is opened.

What is the same in all programs stays the same object. An entry that cannot be understood is left out; an error is
raised only where nothing can be understood, or where leaving something out would give an image wrong objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from condinst.data.file_names import FILE_NAME, name_from_urls, read_file_name
from condinst.data.findings import Findings
from condinst.data.ids import Id, IdTable, check_unique, is_text, read_id
from condinst.data.image_headers import read_header
from condinst.geometry import MOST_PIXELS
from condinst.messages import shorten

Entry = dict[str, Any]

IMAGES_LEFT_OUT = "images that are left out"
ANNOTATIONS_LEFT_OUT = "annotations that are left out"
ORPHANS = "annotations whose image or category is not in the file"
OTHER_ID_TYPES = "ids that are text in one place and a number in another"
SIZES_FROM_FILES = "images whose size is taken from their file"
OTHER_SIZES = "image sizes that are text or floats"
OTHER_PATHS = "file names that are URLs or have backslashes"
OTHER_FLAGS = "values of iscrowd other than 0 and 1"
CATEGORIES_LEFT_OUT = "categories that are left out"
UNNAMED_CATEGORIES = "categories without a name, which are named by their ids"

_LONGEST_SIDE = 12  # characters of a side that is text
ID = "a whole number or text"
_ID_TYPES = (int, str)
_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}
_OTHER_KIND = {
    "instances": (
        "segments_info",
        ("id", "category_id", "bbox", "segmentation"),
        "a panoptic file, for --task panoptic or for a panoptic model or config",
    ),
    "panoptic": (
        "segmentation",
        ("image_id", "file_name", "segments_info"),
        "an instances file, for --task instance or for a model or config without stuff",
    ),
}
"""A field that tells a file of the other kind, the fields of this one, and what fits the other."""
_WHAT_IT_IS = (
    ("shapes", "a file of LabelMe; convert it to COCO"),
    ("_via_img_metadata", "a project of VGG Image Annotator; export it as COCO"),
    ("features", "a GeoJSON file; convert it to COCO"),
    ("_via_settings", "a project of VGG Image Annotator; export it as COCO"),
)


@dataclasses.dataclass
class Content:
    """The entries of a file in one form.

    Args:
        images: `id`, `file_name`, `height` and `width`.
        categories: `id` and `name`.
        annotations: each with the id of an image and of a category. `iscrowd` is 0 or 1, or is not there. `id`, `bbox`
            and `segmentation` are as in the file, or None.
        findings: what was left out and what was read in another way.
    """

    images: list[Entry]
    categories: list[Entry]
    annotations: list[Entry]
    findings: Findings


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
    reader = Reader(path, "instances", images_dir)
    reader.check_kind(content, ("images", "categories", "annotations"))
    images = reader.read_images(content)
    categories = reader.read_categories(content, entries_of(content.get("annotations")) or ())
    annotations = reader.read_annotations(reader.entries(content, "annotations"), images, categories)
    return Content(images, categories, annotations, reader.findings)


def entries_of(value: Any) -> list[Any] | None:
    """The entries of a list of a COCO file, which may also be an object whose keys are the ids; None if it is neither.

    Entries without an id get that of their key.
    """
    if not isinstance(value, Mapping):
        return value if isinstance(value, list) else None
    entries: list[Any] = []
    for key, entry in value.items():
        if isinstance(entry, str):  # categories as {"1": "cat"}
            entry = {"name": entry}
        if isinstance(entry, Mapping) and "id" not in entry:
            entry = {**entry, "id": int(key) if key.isdecimal() and len(key) < 300 else key}
        entries.append(entry)
    return entries


class Reader:
    """Reads the lists of one file and records what is unusual in them.

    Args:
        path: the file, for messages.
        kind: "instances" or "panoptic", for messages.
        images_dir: the folder of the images.
    """

    def __init__(self, path: Path, kind: str, images_dir: Path) -> None:
        self.path = path
        self.kind = kind
        self.images_dir = images_dir
        self.findings = Findings()
        self._left_out_images: set[Id] = set()
        self._stated_sizes: dict[Id, tuple[Any, Any]] = {}

    def check_kind(self, content: Any, keys: Sequence[str]) -> None:
        """Raises a ValueError unless the content is an object; the message says which other format it seems to have."""
        if isinstance(content, Mapping):
            if "images" not in content:
                for key, description in _WHAT_IT_IS:
                    if key in content:
                        raise ValueError(f"{self.path}: expected a COCO {self.kind} file, got {description}")
            annotations = entries_of(content.get("annotations"))
            self._check_first(annotations[0] if annotations else None)
            return
        hint = ""
        if isinstance(content, list) and content and isinstance(content[0], Mapping) and "score" in content[0]:
            hint = "; this is a list of results"
        raise ValueError(f"{self.path}: expected a JSON object with {', '.join(keys)}{hint}")

    def _check_first(self, annotation: Any) -> None:
        """Raises a ValueError where the first annotation is one of a file of the other kind."""
        sign, fields, other = _OTHER_KIND[self.kind]
        if isinstance(annotation, dict) and sign in annotation and fields[-1] not in annotation:
            missing = ", ".join(field for field in fields if field not in annotation)
            raise ValueError(
                f"{self.path}: annotations[0]: missing {missing} of a COCO {self.kind} file; it looks like {other}"
            )

    def entries(self, content: Mapping[str, Any], key: str) -> list[Any]:
        """One list of the file.

        Raises:
            ValueError: there is no such list.
        """
        entries = entries_of(content.get(key))
        if entries is None:
            raise ValueError(f"{self.path}: expected a list under {key!r}, as in a COCO {self.kind} file")
        return entries

    def read_images(self, content: Mapping[str, Any]) -> list[Entry]:
        """The images of the file, each with a name and a size.

        Raises:
            ValueError: there is no list, all entries are bad, or an id is there twice.
        """
        entries = self.entries(content, "images")
        images = []
        for position, entry in enumerate(entries):
            image = self._read_image(position, entry)
            if image is not None:
                images.append(image)
        check_unique(self.path, "images", "id", (image["id"] for image in images))
        images = self._with_sizes(images)
        if entries and not images:
            raise ValueError(f"{self.path}: {self.findings.first_example()}")
        return images

    def _read_image(self, position: int, entry: Any) -> Entry | None:
        """An image whose size may still be missing (0); None if it is left out."""
        place = f"images[{position}]"
        if not isinstance(entry, dict):
            self._leave_out(IMAGES_LEFT_OUT, f"{place}: expected an object with id, file_name, height, width")
            return None
        if "id" not in entry:
            self._leave_out(IMAGES_LEFT_OUT, f"{place}: missing id of a COCO {self.kind} file")
            return None
        number = read_id(entry["id"])
        if number is None:
            self._leave_out(IMAGES_LEFT_OUT, f"{place}: id: expected {ID}, got {shorten(entry['id'])}")
            return None
        name = entry.get("file_name")
        if name is None:
            name = name_from_urls(entry)
            if name is None:
                problem = "file_name: expected " + FILE_NAME + ", got None" if "file_name" in entry else ""
                problem = problem or f"missing file_name of a COCO {self.kind} file"
                self._leave_out(IMAGES_LEFT_OUT, f"{place}: {problem}", number)
                return None
        path = read_file_name(name, self.images_dir)
        if path is None:
            self._leave_out(IMAGES_LEFT_OUT, f"{place}: file_name: expected {FILE_NAME}, got {shorten(name)}", number)
            return None
        if path != entry.get("file_name"):
            self.findings.note(OTHER_PATHS, f"image {shorten(number)}: {shorten(name)}", "repaired")
        size = {side: self._read_side(number, side, entry.get(side)) for side in ("height", "width")}
        if not _has_size(size):
            self._stated_sizes[number] = entry.get("height"), entry.get("width")
        changed = {"id": number, "file_name": path, **size}
        same = all(entry.get(key) is value or _equal(entry.get(key), value) for key, value in changed.items())
        return entry if same else {**entry, **changed}

    def _read_side(self, number: Id, side: str, value: Any) -> int:
        """Pixels of a side; 0 where they are not known."""
        if type(value) is int:
            return value if value > 0 else 0
        is_whole = isinstance(value, float) and value.is_integer() and 0 < value <= MOST_PIXELS
        is_number = isinstance(value, str) and value.isdecimal() and len(value) < _LONGEST_SIDE
        pixels = int(value) if is_whole or is_number else 0
        if pixels:
            message = f"image {shorten(number)}: {side}: {shorten(value)} is read as {pixels}"
            self.findings.note(OTHER_SIZES, message, "repaired")
        return pixels

    def _with_sizes(self, images: list[Entry]) -> list[Entry]:
        """The images with the missing sizes from their files; those that have none are left out."""
        unsized = [image for image in images if not _has_size(image)]
        if not unsized:
            return images
        with ThreadPoolExecutor() as pool:
            headers = pool.map(lambda image: read_header(self.images_dir / image["file_name"]), unsized)
            header_of = {image["id"]: header for image, header in zip(unsized, headers, strict=True)}
        complete = []
        for image in images:
            if _has_size(image):
                complete.append(image)
                continue
            header = header_of[image["id"]]
            height, width = (0, 0) if header is None else header.upright_size
            if not 0 < height * width <= MOST_PIXELS:
                stated = " and ".join(map(shorten, self._stated_sizes[image["id"]]))
                self._leave_out(
                    IMAGES_LEFT_OUT,
                    f"image {shorten(image['id'])}: expected a height and a width of whole pixels, at most"
                    f" {MOST_PIXELS} in all, got {stated}, and no image file that has a size",
                    image["id"],
                )
                continue
            self.findings.note(
                SIZES_FROM_FILES, f"image {shorten(image['id'])}: {height} x {width} (height x width)", "repaired"
            )
            complete.append({**image, "height": height, "width": width})
        return complete

    def read_categories(self, content: Mapping[str, Any], annotations: Sequence[Any] = ()) -> list[Entry]:
        """The categories of the file; without any, those that the annotations name.

        Raises:
            ValueError: there is no list and no annotation names a category, all entries are bad, or an id is there
                twice.
        """
        named = _category_ids(annotations)
        entries = named if not content.get("categories") and named else self.entries(content, "categories")
        categories = []
        for position, entry in enumerate(entries):
            if not isinstance(entry, dict) or "id" not in entry:
                missing = "expected an object with id, name" if not isinstance(entry, dict) else "missing id"
                self._leave_out(CATEGORIES_LEFT_OUT, f"categories[{position}]: {missing}")
                continue
            number, name = read_id(entry["id"]), entry.get("name")
            if number is None:
                self._leave_out(
                    CATEGORIES_LEFT_OUT, f"categories[{position}]: id: expected {ID}, got {shorten(entry['id'])}"
                )
                continue
            if name is None or isinstance(name, (list, dict)) or (isinstance(name, str) and not is_text(name)):
                name = str(number)
                self.findings.note(UNNAMED_CATEGORIES, f"categories[{position}]: id {shorten(number)}", "repaired")
            same = _equal(entry["id"], number) and entry.get("name") is name
            categories.append(entry if same else {**entry, "id": number, "name": name})
        if entries and not categories:
            raise ValueError(f"{self.path}: {self.findings.first_example()}")
        check_unique(self.path, "categories", "id", (category["id"] for category in categories))
        return categories

    def read_annotations(
        self, entries: Sequence[Any], images: Sequence[Entry], categories: Sequence[Entry]
    ) -> list[Entry]:
        """The annotations of the images that are there.

        Raises:
            ValueError: all entries are bad.
        """
        image_ids = IdTable(image["id"] for image in images)
        category_ids = IdTable(category["id"] for category in categories)
        known_images, known_categories = image_ids.exact, category_ids.exact
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
            annotation = entry if usual else self._read_annotation(position, entry, image_ids, category_ids)
            if annotation is not None:
                annotations.append(annotation)
        if entries and not annotations:
            example = self.findings.with_effect("left out")[-1].examples[0]
            raise ValueError(f"{self.path}: {example}")
        return annotations

    def _read_annotation(self, position: int, entry: Any, image_ids: IdTable, category_ids: IdTable) -> Entry | None:
        """One annotation; None if it is left out."""
        place = f"annotations[{position}]"
        if not isinstance(entry, dict):
            self._leave_out(
                ANNOTATIONS_LEFT_OUT, f"{place}: expected an object with id, image_id, category_id, segmentation"
            )
            return None
        number = read_id(entry.get("id"))
        where = place if number is None else f"annotation {shorten(number)}"
        changed: Entry = {"id": place if number is None else number}
        for field, table in (("image_id", image_ids), ("category_id", category_ids)):
            if field not in entry:
                self._leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: missing {field} of a COCO {self.kind} file")
                return None
            value = entry[field]
            reference = read_id(value)
            if reference is None:
                self._leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: {field}: expected {ID}, got {shorten(value)}")
                return None
            found = table.find(reference)
            if found is None:
                if field == "image_id" and reference in self._left_out_images:
                    self._leave_out(ANNOTATIONS_LEFT_OUT, f"{where}: image {shorten(reference)} is left out")
                else:
                    things = "images" if field == "image_id" else "categories"
                    self._leave_out(ORPHANS, f"{where}: {field} {shorten(value)} is not among the {things}")
                return None
            if type(reference) is not type(found):
                message = f"{where}: {field} {shorten(value)} is read as {shorten(found)}"
                self.findings.note(OTHER_ID_TYPES, message, "repaired")
            changed[field] = found
        flag = read_flag(entry.get("iscrowd"))
        if flag is None:
            self._leave_out(ANNOTATIONS_LEFT_OUT, f"{place}: iscrowd: expected 0 or 1, got {shorten(entry['iscrowd'])}")
            return None
        if "iscrowd" in entry and not _equal(entry["iscrowd"], flag):
            message = f"{where}: iscrowd {shorten(entry['iscrowd'])} is read as {flag}"
            self.findings.note(OTHER_FLAGS, message, "repaired")
            changed["iscrowd"] = flag
        return {"bbox": None, "segmentation": None, **entry, **changed}

    def _leave_out(self, kind: str, example: str, image_id: Id | None = None) -> None:
        self.findings.note(kind, example, "left out")
        if image_id is not None:
            self._left_out_images.add(image_id)


def read_flag(value: Any) -> int | None:
    """0 or 1 of a flag such as `iscrowd`, which may be missing (None), true or text; None if it is neither."""
    if value is None:
        return 0
    if isinstance(value, (bool, int, float)):
        return int(value) if value in (0, 1) else None
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def _equal(value: Any, other: Any) -> bool:
    """Whether two values are equal and of one type."""
    return type(value) is type(other) and value == other


def _has_size(image: Entry) -> bool:
    return 0 < image["height"] * image["width"] <= MOST_PIXELS and image["height"] > 0


def _category_ids(annotations: Sequence[Any]) -> list[Entry]:
    """An entry for each category that annotations name."""
    ids = {read_id(entry.get("category_id")): None for entry in annotations if isinstance(entry, dict)}
    return [{"id": number} for number in ids if number is not None]
