"""The lists of COCO files, and what is unusual in their entries."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condinst.data.findings import Findings
from condinst.data.ids import Id

Entry = dict[str, Any]

ID = "a whole number or text"
"""What ids are, for messages."""

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
        objects_left_out: the number of objects that were left out, by the id of their image; None for no image that
            is there.
    """

    images: list[Entry]
    categories: list[Entry]
    annotations: list[Entry]
    findings: Findings
    objects_left_out: Counter[Id | None]


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


class EntryReader:
    """Reads the lists of one file and records what is unusual in them.

    Args:
        path: the file, for messages.
        kind: "instances" or "panoptic", for messages.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.findings = Findings()
        self.objects_left_out: Counter[Id | None] = Counter()

    def check_kind(self, content: Any, keys: Sequence[str]) -> None:
        """Raises a ValueError unless the content is an object; the message says which other format it seems to have."""
        if isinstance(content, Mapping):
            if "images" not in content:
                for key, description in _WHAT_IT_IS:
                    if key in content:
                        raise ValueError(f"{self.path}: expected a COCO {self.kind} file, got {description}")
                first = next(iter(content.values()), None)
                if isinstance(first, Mapping) and "regions" in first:
                    description = "annotations of VGG Image Annotator; export them as COCO"
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

    def leave_out(self, kind: str, example: str) -> None:
        """Counts an entry that is left out."""
        self.findings.note(kind, example, "left out")

    def repair(self, kind: str, example: str) -> None:
        """Counts a value that is read in another way than it is written."""
        self.findings.note(kind, example, "repaired")


def read_flag(value: Any) -> int | None:
    """0 or 1 of a flag such as `iscrowd`, which may be missing (None), true or text; None if it is neither."""
    if value is None:
        return 0
    if isinstance(value, (bool, int, float)):
        return int(value) if value in (0, 1) else None
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def same_value(value: Any, other: Any) -> bool:
    """Whether two values are equal and of one type."""
    return type(value) is type(other) and value == other
