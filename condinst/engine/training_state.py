"""What a run needs to go on exactly where it stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from condinst.files import atomic_write
from condinst.messages import is_out_of_memory, shorten
from condinst.models.checkpoints.files import read_torch_file
from condinst.models.condinst import CondInst
from condinst.models.config import CondInstConfig

from .run_settings import check_resumed, read_settings

_CONTENT = {
    *("model", "optimizer", "average", "precision", "step", "best", "moving_num_positives", "unreadable", "random"),
    *("random_cuda", "config"),
}
"""What a file of `TrainingState.save` holds."""


class OtherOptimizerError(ValueError):
    """The state of an optimizer is of another kind than the optimizer."""


class TrainingState:
    """A model in training, with its optimizer, average, step and random numbers.

    Args:
        model: what is trained.
        optimizer: of its parameters.
        average: moving average of its weights, or None.
        precision: Fabric's plugin: its `precision` is the name, its `state_dict` that of the gradients' scale.
        settings: what the run was started with, see `describe_run`; by default nothing is compared.
    """

    def __init__(
        self,
        model: CondInst,
        optimizer: torch.optim.Optimizer,
        average: AveragedModel | None,
        precision: Any,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.average = average
        self.precision = precision
        self.settings = settings
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
            "settings": self.settings,
        }
        try:
            with atomic_write(path, durable=True) as partial:
                torch.save(content, partial)
        except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save sees a write that fails
            raise OSError(f"{path}: could not be written, the one before it is kept: {error}") from error

    def load(self, path: Path, content: Mapping[str, Any] | None = None) -> None:
        """Restores what `save` wrote.

        Args:
            path: the file.
            content: of the file, where `read_checkpoint` has read it already.

        Raises:
            FileNotFoundError: when there is nothing to resume.
            ValueError: when the file is damaged, of another model or of another kind of run, or of other data, or when
                training.json beside it is of another model; the message names the fields. The state may then be half
                restored.
            MemoryError: when there is less memory than the file needs.
        """
        if content is None:
            content = read_checkpoint(path)
        differences = self._differences(content["config"])
        if differences:
            raise ValueError(f"{path}: is of a model with another config: {differences}")
        self._check_settings(path, content)
        if (content["average"] is None) != (self.average is None):
            raise ValueError(f"{path}: ema_decay: expected as before, with or without a moving average of the weights")
        try:
            self._restore(content)
        except Exception as error:  # PyTorch raises whatever it stumbles over
            if is_out_of_memory(error):
                raise MemoryError(f"{path}: not enough memory for the state of a training") from error
            if isinstance(error, OtherOptimizerError):
                raise ValueError(f"{path}: {error}") from error
            raise ValueError(f"{path}: a damaged state of a training: {type(error).__name__}: {error}") from error

    def _check_settings(self, path: Path, content: Mapping[str, Any]) -> None:
        """Compares the run with that of the checkpoint, and with the training.json beside it."""
        recorded = read_settings(path.parent)
        if "model" in recorded:
            differences = self._differences(json.dumps(recorded["model"]))
            if differences:
                raise ValueError(
                    f"{path.parent / 'training.json'}: is of another model than {path.name} beside it: {differences};"
                    " expected the files of one run"
                )
        if self.settings is not None:
            # checkpoints of older versions do not have the settings, and training.json only names the data
            previous = content.get("settings") or {"training": recorded.get("training")}
            check_resumed(path, previous, self.settings)

    def _differences(self, config: Any) -> str:
        """The fields of a config in JSON that differ from the model's; a field that is missing has its default."""
        try:
            saved = _fields(CondInstConfig.from_json(config))
        except (TypeError, ValueError):
            return shorten(config)
        current = _fields(self.model.config)
        return ", ".join(f"{name} = {shorten(value)}" for name, value in saved.items() if value != current[name])

    def _restore(self, content: Mapping[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        self._restore_optimizer(content["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        if content["precision"]:  # empty where gradients were not scaled before
            self.precision.load_state_dict(content["precision"])
        self.step = int(content["step"])
        images, score = content["best"]
        self.best_images, self.best_score = int(images), float(score)
        self.model.detection_loss.moving_num_positives.copy_(content["moving_num_positives"])
        self.unreadable = list(map(str, content["unreadable"]))
        torch.set_rng_state(content["random"])
        if content["random_cuda"] is not None and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(content["random_cuda"], self.model.device)

    def _restore_optimizer(self, content: dict[str, Any]) -> None:
        """PyTorch checks the number of parameters alone, and fails on other things steps later."""
        for group, saved in zip(self.optimizer.param_groups, content["param_groups"], strict=True):
            missing = group.keys() - saved.keys()
            if missing:
                raise OtherOptimizerError(
                    f"optimizer: is of another one than {type(self.optimizer).__name__}: expected its fields"
                    f" {', '.join(sorted(missing))}"
                )
            wrong = [name for name, value in group.items() if not isinstance(saved[name], type(value))]
            if wrong:
                raise ValueError(f"optimizer: expected other types of {', '.join(wrong)}")
        self.optimizer.load_state_dict(content)
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                    raise ValueError(f"optimizer: {name}: expected {list(parameter.shape)}, got {list(value.shape)}")


def _fields(config: CondInstConfig) -> dict[str, Any]:
    """All fields of a config by name, those of its classes beside the others."""
    fields = dataclasses.asdict(config)
    return {**fields.pop("classes"), **fields}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `TrainingState.save` wrote, with all tensors on the CPU.

    Raises:
        FileNotFoundError: when there is nothing to resume.
        ValueError: when the file is damaged, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"nothing to resume: no such file: {path}")
    content = read_torch_file(path)
    if not isinstance(content, dict) or _CONTENT - content.keys():
        raise ValueError(f"{path}: expected the state of a training, as `condinst train` writes it to last.pt")
    return content
