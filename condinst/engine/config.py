"""How a model is trained, as a flat dataclass."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from condinst.messages import shorten
from condinst.models.config_files import load_training_table
from condinst.models.fields import LARGEST_INT, check_types
from condinst.precision import PRECISIONS

_CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("steps", "cosine"),
    "precision": PRECISIONS,
}

_MOST = {"num_workers": 1024, "batch_size": 65_536, "accumulate": 65_536}
"""The highest values of what takes a process or memory each; far more than any machine can use."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; the defaults are AdelaiDet's 1x schedule (numerics 2.7).

    Args:
        steps: optimizer steps.
        batch_size: images per step, over all processes.
        accumulate: a step's images go through the model in so many parts, each with its own normalisers; their
            gradients are averaged.
        optimizer: "sgd" or "adamw".
        learning_rate: highest one, for `base_batch_size` images per step.
        base_batch_size: the learning rate is multiplied by batch_size / base_batch_size; 0 takes it as it is.
        momentum: of SGD.
        weight_decay: of all parameters but those of norm layers.
        schedule: "steps" (a tenth at each of `milestones`) or "cosine" (to 0).
        milestones: steps at which the schedule "steps" falls.
        warmup_steps: linear rise of the learning rate from a thousandth.
        clip_gradient_norm: larger gradient norms are scaled down to it; 0 for never.
        ema_decay: the weights that are validated and saved are a moving average with this decay; 0 for the plain ones.
        precision: of the network: "32-true", "bf16-mixed", "16-mixed" (with scaled gradients, on a GPU), or "auto",
            which takes 16 bits where the device has instructions for them, see `condinst.precision`. The losses are
            always computed in float32.
        channels_last: keep the convolutions' weights, and so all maps, in channels-last order.
        crop_size: train on random crops of this side in network input pixels, see `TrainingTransform`; 0 trains on
            whole images, resized as the model's config says.
        crop_width: width of the crops, where they are not square; 0 for `crop_size`.
        scale_range: lowest and highest factor on the scale of testing, when training on crops; (0.1, 2.0) is
            large-scale jitter.
        horizontal_flip, vertical_flip, transpose: probabilities of mirroring.
        colour_jitter: largest relative change of brightness, contrast and saturation.
        copy_paste: probability that objects of another image are pasted in.
        group_by_aspect_ratio: a batch has upright images or wide ones, so that there is less padding.
        num_workers: processes that prepare images.
        seed: of data order, random changes and the model's own draws.
        log_every: steps between two lines of the log.
        checkpoint_minutes: minutes between two resumable checkpoints; 0 writes one after each step.
        validate_every: steps between two validations; 0 validates at the end only.
        validation_images: images of a validation on the way, 0 for all; the one at the end takes all.
    """

    steps: int = 90_000
    batch_size: int = 16
    accumulate: int = 1
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    base_batch_size: int = 16
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "steps"
    milestones: tuple[int, ...] = (60_000, 80_000)
    warmup_steps: int = 1000
    clip_gradient_norm: float = 0.0
    ema_decay: float = 0.0
    precision: str = "auto"
    channels_last: bool = False
    crop_size: int = 0
    crop_width: int = 0
    scale_range: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    transpose: float = 0.0
    colour_jitter: float = 0.0
    copy_paste: float = 0.0
    group_by_aspect_ratio: bool = True
    num_workers: int = 2
    seed: int = 0
    log_every: int = 20
    checkpoint_minutes: float = 10.0
    validate_every: int = 0
    validation_images: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("steps", "batch_size", "accumulate", "log_every"):
            self._check_range(name, 1)
        for name in ("crop_size", "crop_width", "warmup_steps", "num_workers", "validate_every", "validation_images"):
            self._check_range(name, 0)
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name}: expected at most {most}, got {getattr(self, name)}")
        for name in ("base_batch_size", "learning_rate", "weight_decay", "clip_gradient_norm", "checkpoint_minutes"):
            self._check_range(name, 0)
        for name in ("momentum", "colour_jitter"):
            self._check_range(name, 0)
        for name in ("horizontal_flip", "vertical_flip", "transpose", "copy_paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a probability in 0..1, got {getattr(self, name)}")
        if self.crop_width and not self.crop_size:
            raise ValueError(f"crop_width: expected 0 without crop_size, got {self.crop_width}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected a number in 0..1, got {self.ema_decay}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")

    def _check_range(self, name: str, least: int) -> None:
        if not getattr(self, name) >= least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")

    @property
    def scaled_learning_rate(self) -> float:
        """The highest learning rate for this batch size (linear scaling)."""
        return self.learning_rate * (self.batch_size / self.base_batch_size if self.base_batch_size else 1)


def load_training_config(
    source: str | Path, settings: Iterable[str] = (), *, overrides: Mapping[str, Any] = MappingProxyType({})
) -> TrainingConfig:
    """The table [training] of a config, changed by settings.

    Args:
        source: name of a built-in config, or a TOML file.
        settings: see `parse_settings`.
        overrides: fields of `TrainingConfig`.

    Raises:
        ValueError: an unknown name, or a value of another type than the field's.
    """
    table = load_training_table(source)
    where = f"{source}: [training]"
    values = {name: _checked(f"{where} {name}", TrainingConfig, name, value) for name, value in table.items()}
    changes = parse_settings("--set", TrainingConfig, settings)
    changes |= {name: _checked(name, TrainingConfig, name, value) for name, value in overrides.items()}
    try:
        return TrainingConfig(**(values | changes))
    except TypeError as error:  # that of a caller, not of a file
        raise ValueError(f"{where} {error}") from error
    except ValueError as error:
        if changes:  # the message names the field, and either may have set it
            raise
        raise ValueError(f"{where} {error}") from error


def parse_settings(option: str, kind: type[Any], settings: Iterable[str]) -> dict[str, Any]:
    """Fields of a dataclass from words NAME=VALUE; values are written as in TOML, quotes may be left out.

    Args:
        option: of the command line, for messages.
        kind: the dataclass, whose fields all have defaults.
        settings: the words.

    Raises:
        ValueError: an unknown name, or a value of another type than the field's.
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{option}: expected NAME=VALUE, got {setting!r}")
        try:
            value: Any = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML: text without quotes
            value = text
        values[name] = _checked(f"{option} {name}", kind, name, value)
    return values


def _checked(where: str, kind: type[Any], name: str, value: Any) -> Any:
    """A value of the type of the field, lists and whole numbers being taken for tuples and floats."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    if name not in fields:
        raise ValueError(f"{where}: expected one of {', '.join(fields)}")
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(fields[name], float) and type(value) is int and abs(value) <= LARGEST_INT:
        value = float(value)
    if type(value) is not type(fields[name]):
        raise ValueError(f"{where}: expected {type(fields[name]).__name__}, got {shorten(value)}")
    return value
