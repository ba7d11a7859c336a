"""JSON files as other programs write them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_SIGNATURES = (
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` fetches the file itself"),
    (b"<", "HTML or XML"),
)


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: a file that is missing, cannot be read or is no JSON; the message names it, and what it is instead.
    """
    try:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    other = _other_format(content)
    if other:
        raise ValueError(f"{path}: not a JSON file: it is {other}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not a JSON file in UTF-8, perhaps in an older encoding such as Windows-1252; save it as UTF-8:"
            f" {error}"
        ) from error
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: not a JSON file that can be read: lists in lists, or objects, too deep") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        has_lines = isinstance(error, json.JSONDecodeError) and text[error.pos :].startswith("{") and error.lineno > 1
        hint = "; one JSON object per line is another format" if has_lines else ""
        raise ValueError(f"{path}: not a JSON file: {error}{hint}") from error


def _other_format(content: bytes) -> str:
    """The name of another format that begins like this; empty if none is known."""
    if not content.strip():
        return "empty"
    for mark, name in _ENCODINGS:
        if content.startswith(mark):
            return f"text in {name}; save it as UTF-8"
    if b"\0" in content[:2]:
        return "text in UTF-16 or UTF-32; save it as UTF-8"
    start = content[:100].removeprefix(codecs.BOM_UTF8).lstrip()
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), "")
