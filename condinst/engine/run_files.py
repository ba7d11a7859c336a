"""The files of a training run, which replace those of an earlier run alone."""

from __future__ import annotations

import os
from pathlib import Path

from condinst.files import check_replaceable

from .run_settings import read_settings

CHECKPOINT = "last.pt"
SETTINGS = "training.json"
RESULTS = ("log.csv", "validation.csv", "best.safetensors", "model.safetensors", "curves.png")
_KEYS = {"model", "training", "data"}
"""What `Trainer` has always written into SETTINGS."""


def check_run_folder(out: Path, *, resume: bool) -> None:
    """Checks that a run may write its files into a folder, which may be missing.

    A run that is resumed needs the checkpoint, which says whose folder it is. Otherwise SETTINGS has to, which a run
    writes first.

    Raises:
        FileExistsError: the folder holds a run with a checkpoint and `resume` is False, or files of these names that no
            run has written.
    """
    checkpoint = out / CHECKPOINT
    if resume:
        return
    if os.path.lexists(checkpoint):
        raise FileExistsError(f"{checkpoint} is from an earlier run: resume it or choose another folder")
    ours = read_settings(out).keys() >= _KEYS
    for name in (SETTINGS, *RESULTS):
        check_replaceable(out / name, ours=ours)
