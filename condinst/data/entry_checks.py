"""Checks of files that have one form only, such as results: each entry has its fields, of the right types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from condinst.data.file_names import FILE_NAME, is_file_name
from condinst.data.ids import read_id
from condinst.messages import shorten

Check = tuple[str, Callable[[Any], bool]]

LARGEST_SEGMENT_ID = 2**63 - 1
_ID: Check = ("a whole number or text", lambda value: type(value) is not float and read_id(value) is not None)
_CHECKS: dict[str, Check] = {
    "id": _ID,
    "image_id": _ID,
    "category_id": _ID,
    "file_name": (FILE_NAME, is_file_name),
}
"""What the fields of an entry hold; others may hold anything."""
_SEGMENT_CHECKS = _CHECKS | {
    "id": ("a whole number of at least 1", lambda value: type(value) is int and 0 < value <= LARGEST_SEGMENT_ID),
}


def check_entries(
    path: Path,
    entries: Any,
    key: str,
    fields: tuple[str, ...],
    kind: str,
    checks: Mapping[str, Check] = _CHECKS,
) -> None:
    """Checks one list of a file and the values of its fields.

    Args:
        path: the file, for messages.
        entries: the list.
        key: its name, for messages.
        fields: of its entries.
        kind: of the file, for messages.
        checks: of the fields.

    Raises:
        ValueError: naming entry and field.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list under {key!r}, as in a COCO {kind} file")
    checked = [(field, *checks[field]) for field in fields if field in checks]
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {key}[{position}]: expected an object with {', '.join(fields)}")
        missing = [field for field in fields if field not in entry]
        if missing:
            raise ValueError(f"{path}: {key}[{position}]: missing {', '.join(missing)} of a COCO {kind} file")
        for field, expected, fits in checked:
            if not fits(entry[field]):
                raise ValueError(
                    f"{path}: {key}[{position}]: {field}: expected {expected}, got {shorten(entry[field])}"
                )


def check_segments_info(path: Path, infos: Any, key: str, kind: str) -> None:
    """Checks the list of segments of one image; see `check_entries`."""
    check_entries(path, infos, key, ("id", "category_id"), kind, _SEGMENT_CHECKS)
