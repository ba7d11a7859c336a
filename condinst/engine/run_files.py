"""The files of a training run, which replace those of an earlier run alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

CHECKPOINT = "last.pt"
SETTINGS = "training.json"
RESULTS = ("log.csv", "validation.csv", "best.safetensors", "model.safetensors", "curves.png")
_KEYS = {"model", "training", "data", "processes", "precision"}
"""What `Trainer` writes into SETTINGS."""


def check_run_folder(out: Path, *, resume: bool) -> None:
    """Checks that a run may write its files into a folder, which may be missing.

    Raises:
        FileExistsError: the folder holds a run with a checkpoint and `resume` is False, or files of these names that no
            run has written.
    """
    checkpoint, settings = out / CHECKPOINT, out / SETTINGS
    if os.path.lexists(checkpoint) and not resume:
        raise FileExistsError(f"{checkpoint} is from an earlier run: resume it or choose another folder")
    if _is_ours(settings) or (resume and not os.path.lexists(settings)):
        return
    for path in (settings, *(out / name for name in RESULTS)):
        if os.path.lexists(path):
            raise FileExistsError(
                f"{path}: expected no file, or that of an earlier run, which would be replaced; choose another --out"
            )


def _is_ours(settings: Path) -> bool:
    try:
        content = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS
