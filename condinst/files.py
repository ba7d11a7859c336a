"""Files that are the old one or the new one, but never half of it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields the path of a temporary file beside `path`, which replaces `path` if the ``with`` block ends well.

    If the block raises, `path` is as it was and the temporary file is removed.

    Args:
        path: the file; its folder must exist.
        durable: wait until the content is on the disk before `path` is replaced, so that a power cut does not leave an
            empty file.

    Raises:
        OSError: the file could not be replaced.
    """
    target = Path(path)
    partial = target.with_name(f"{target.name}.partial")
    try:
        yield partial
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Writes a JSON file with `atomic_write`. Its folder is made.

    Raises:
        ValueError: a number that JSON does not have (NaN, infinity).
        OSError: the file could not be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as partial:
        partial.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def check_replaceable(path: Path, *, ours: bool, inputs: Iterable[Path] = ()) -> None:
    """Checks that a file, or a folder, of results may be written.

    Args:
        path: where it will be written.
        ours: whether what is there now is the result of an earlier run.
        inputs: files that are read.

    Raises:
        FileExistsError: something is there that is no such result, or that is an input.
    """
    if os.path.lexists(path) and (not ours or os.path.realpath(path) in map(os.path.realpath, inputs)):
        raise FileExistsError(
            f"{path}: expected no file, or that of an earlier run, which would be replaced; choose another --out"
        )


def plain_number(value: Any) -> Any:
    """A number of NumPy or PyTorch as one of Python, which JSON can hold; anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def json_ready(scores: Any) -> Any:
    """Nested scores with None for NaN, which strict JSON does not have."""
    if isinstance(scores, dict):
        return {key: json_ready(value) for key, value in scores.items()}
    if isinstance(scores, list):
        return [json_ready(value) for value in scores]
    return None if isinstance(scores, float) and math.isnan(scores) else scores
