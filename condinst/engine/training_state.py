"""What a run needs to go on exactly where it stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from condinst.models.condinst import CondInst


class TrainingState:
    """A model in training, with its optimizer, average, step and random numbers.

    Args:
        model: what is trained.
        optimizer: of its parameters.
        average: moving average of its weights, or None.
        precision: Fabric's plugin: its `precision` is the name, its `state_dict` that of the gradients' scale.
    """

    def __init__(
        self, model: CondInst, optimizer: torch.optim.Optimizer, average: AveragedModel | None, precision: Any
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.average = average
        self.precision = precision
        self.step = 0
        self.best_score = -1.0
        self.best_images = 0
        self.unreadable: list[str] = []

    @property
    def result(self) -> CondInst:
        """The model that the training is for: the average where there is one."""
        return self.model if self.average is None else cast(CondInst, self.average.module)

    def save(self, path: Path) -> None:
        """Writes everything to a file, which is the old one or the new one but never half of it.

        Raises:
            OSError: it could not be written (a full disk); the old file is as it was.
        """
        device = self.model.device
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "precision": self.precision.state_dict(),
            "precision_name": self.precision.precision,
            "step": self.step,
            "best": [self.best_images, self.best_score],
            "moving_num_positives": self.model.detection_loss.moving_num_positives,
            "unreadable": self.unreadable,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "config": self.model.config.to_json(),
        }
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save sees a write that fails
            partial.unlink(missing_ok=True)
            raise OSError(f"{path}: could not be written, the one before it is kept: {error}") from error

    def load(self, content: Mapping[str, Any], path: Path) -> None:
        """Restores what `save` wrote.

        Args:
            content: see `read_checkpoint`.
            path: of its file, for messages.

        Raises:
            ValueError: when the file is of another model or of another kind of run.
        """
        if content["config"] != self.model.config.to_json():
            raise ValueError(f"{path}: is of a model with another config: {content['config']}")
        if (content["average"] is None) != (self.average is None):
            raise ValueError(f"{path}: ema_decay: expected as before, with or without a moving average of the weights")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        if content["precision"]:  # empty where gradients were not scaled before
            self.precision.load_state_dict(content["precision"])
        self.step = content["step"]
        self.best_images, self.best_score = content["best"]
        self.model.detection_loss.moving_num_positives.copy_(content["moving_num_positives"])
        self.unreadable = content["unreadable"]
        torch.set_rng_state(content["random"])
        if content["random_cuda"] is not None and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(content["random_cuda"], self.model.device)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `TrainingState.save` wrote, with all tensors on the CPU.

    Raises:
        FileNotFoundError: when there is nothing to resume.
        ValueError: when the file is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"nothing to resume: no such file: {path}")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever it stumbles over
        raise ValueError(f"{path}: damaged checkpoint: {error}") from error
    return content
