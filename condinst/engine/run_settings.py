"""What a run was started with, so that one that is resumed says which setting differs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condinst.data.annotated import AnnotatedImages
from condinst.messages import shorten

from .config import TrainingConfig

FREE = {
    *("steps", "schedule", "milestones", "precision", "num_workers", "log_every", "checkpoint_minutes"),
    *("validate_every", "validation_images"),
}
"""Fields of `TrainingConfig` that a resumed run may change without a word."""

RESTORED = {"optimizer", "momentum", "weight_decay"}
"""Fields that the state of the optimizer belongs to. Other values would be refused by PyTorch or have no effect."""

_logger = logging.getLogger(__name__)


def describe_run(config: TrainingConfig, data: AnnotatedImages) -> dict[str, Any]:
    """The settings and the data of a run, as plain values.

    Args:
        config: how the model is trained.
        data: the training images. Where the files are does not matter; their names, sizes and number do.
    """
    entries = [
        (image_id, data.images[image_id]["file_name"], *data.image_size(index))
        for index, image_id in enumerate(data.image_ids)
    ]
    return {
        "training": dataclasses.asdict(config),
        "data": {
            "file": str(data.annotations),
            "images": len(data),
            "annotations": data.num_annotations,
            "digest": hashlib.sha256(json.dumps(entries, default=str).encode()).hexdigest(),
        },
    }


def check_resumed(path: Path, previous: Any, current: Mapping[str, Any]) -> None:
    """Compares a run with the one that it resumes, and logs a warning on each field that differs and has an effect.

    Args:
        path: the checkpoint, for messages.
        previous: what `describe_run` gave for the run before; settings that it does not have are not compared.
        current: what it gives now.

    Raises:
        ValueError: other data, or another optimizer; the message names the fields.
    """
    if not isinstance(previous, Mapping):
        return
    _check_data(path, previous.get("data"), current["data"])
    training = previous.get("training")
    if not isinstance(training, Mapping):
        return
    # JSON has lists where a config has tuples
    differences = {
        name: f"{name}: {shorten(training[name])} before, {shorten(value)} now"
        for name, value in current["training"].items()
        if name not in FREE and name in training and _plain(training[name]) != _plain(value)
    }
    restored = [text for name, text in differences.items() if name in RESTORED]
    if restored:
        raise ValueError(
            f"{path}: is of a run with another optimizer: {', '.join(restored)}; expected the same to resume it, or"
            f" a new run with --weights {path}"
        )
    for text in differences.values():
        _logger.warning("the resumed run differs from the one before: %s", text)


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of training.json in the folder of a run; nothing where it is missing or damaged."""
    try:
        content = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _check_data(path: Path, previous: Any, current: Mapping[str, Any]) -> None:
    if not isinstance(previous, Mapping):
        return
    fields = [name for name in ("images", "annotations") if previous.get(name) != current[name]]
    texts = [f"{name}: {shorten(previous.get(name))} before, {current[name]} now" for name in fields]
    if not texts and previous.get("digest") != current["digest"]:
        texts = ["other names, sizes or ids of images"]
    if texts:
        raise ValueError(
            f"{path}: data: expected that of the run, {shorten(previous.get('file'))}, got {current['file']} with"
            f" {', '.join(texts)}; other data needs a new run, with --weights {path}"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
