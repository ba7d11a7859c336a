"""Names of image files in annotation files, which may be of another system or URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from condinst.data.ids import is_text

LONGEST_PATH = 4096  # characters of the name of a file with its folders, and
LONGEST_PART = 255  # bytes of each of these: what file systems take
FILE_NAME = f"text that can name a file, of at most {LONGEST_PATH} characters and {LONGEST_PART} bytes for each folder"
_URL_FIELDS = ("coco_url", "flickr_url", "url", "path")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def read_file_name(name: Any, images_dir: Path) -> str | None:
    """The name of an image file as this system writes it; None for a value that can name no file.

    Of a URL the last part counts. Backslashes separate folders unless there is a file with backslashes in its name.
    """
    if isinstance(name, str) and _SCHEME.match(name):
        name = _last_part(name)
    if not is_file_name(name):
        return None
    if "\\" in name and not is_windows_path(name) and not os.path.isfile(images_dir / name):
        name = name.replace("\\", "/")
    return name


def is_file_name(value: Any) -> bool:
    """Whether the system can be asked for a file of this name."""
    if type(value) is not str or len(value) > LONGEST_PATH or "\0" in value or not is_text(value):
        return False
    return len(value) <= LONGEST_PART // 4 or all(len(part.encode()) <= LONGEST_PART for part in value.split("/"))


def is_windows_path(name: str) -> bool:
    """Whether a name is an absolute path of Windows, such as C:\\images\\1.png."""
    return bool(_DRIVE.match(name)) or name.startswith("\\\\")


def name_from_urls(entry: Mapping[str, Any]) -> str | None:
    """The name of an image that has no `file_name`: the last part of its URL or path."""
    for field in _URL_FIELDS:
        value = entry.get(field)
        if isinstance(value, str) and value:
            name = _last_part(value)
            if name:
                return name
    return None


def missing_file_hint(name: str) -> str:
    """Why a file of this name may be missing, for a message; empty if there is nothing to say."""
    if is_windows_path(name):
        return "; the annotation file has a Windows path, expected one relative to the folder of the images"
    if name.startswith("/"):
        return "; the annotation file has an absolute path, expected one relative to the folder of the images"
    return ""


def _last_part(text: str) -> str:
    """The file name at the end of a URL or of a path of any system."""
    path = unquote(urlsplit(text).path) if _SCHEME.match(text) else text
    return re.split(r"[\\/]", path)[-1]
