"""The names of the files that `predict_files` writes, so that it overwrites its own results alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condinst.files import check_replaceable

_LONGEST_NAME = 255 - len(".partial") - len("_99999.png")  # bytes, on the file systems in use


def read_earlier_overlays(out: Path, names: Sequence[str], inputs: Sequence[Path]) -> set[str]:
    """The overlays of the run before that wrote into a folder.

    Args:
        out: the folder, which may be missing.
        names: of the JSON files that will be written there.
        inputs: files that are read.

    Raises:
        FileExistsError: one of the JSON files exists, and is an input or not of such a run.
    """
    overlays = _overlays(out)
    for name in names:
        check_replaceable(out / name, ours=overlays is not None, inputs=inputs)
    return overlays or set()


def without_earlier_overlays(paths: Sequence[Path], out: Path) -> list[Path]:
    """The paths without the pictures that the run before has drawn into a folder.

    So a second run over the folder that it writes to does not take drawings for photos.
    """
    drawn = {os.path.realpath(out / name) for name in _overlays(out) or ()}
    return [path for path in paths if os.path.realpath(path) not in drawn]


def _overlays(out: Path) -> set[str] | None:
    """The overlays that the `images.json` of a folder names; None where it is not one of ours."""
    try:
        images = _read_list(out / "images.json")
        if not images and _read_list(out / "predictions.json"):
            return None
        return {str(image["overlay"]) for image in images if image["path"] and image["id"] is not None}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _read_list(path: Path) -> list[Any]:
    """The list in a JSON file; a TypeError where it holds anything else."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, list):
        raise TypeError(f"{path}: expected a list")
    return content


def overlay_names(paths: Sequence[Path], folders: Sequence[Path], earlier: set[str]) -> list[str]:
    """A PNG name for each path: no two alike, nor on disks that ignore case.

    Args:
        paths: of the images.
        folders: where files of these names will be written; a file that is there is not replaced.
        earlier: files that may be replaced, unless they are an input now.
    """
    inputs = {os.path.realpath(path) for path in paths}
    taken: set[str] = set()

    def is_free(name: str) -> bool:
        if name.lower() in taken:
            return False
        for folder in folders:
            path = folder / name
            if os.path.lexists(path) and (name not in earlier or os.path.realpath(path) in inputs):
                return False
        return True

    names = []
    for path in paths:
        stem = os.fsdecode(os.fsencode(path.stem)[:_LONGEST_NAME])
        name, number = f"{stem}.png", 1
        while not is_free(name):
            number += 1
            name = f"{stem}_{number}.png"
        taken.add(name.lower())
        names.append(name)
    return names
