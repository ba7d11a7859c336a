"""How a model is trained, as a flat dataclass."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from condinst.data.augmentation import AugmentationConfig
from condinst.fields import AtLeast, AtMost, Below, check_field, rename_old_fields
from condinst.models.config_files import load_training_table
from condinst.precision import Precision

_Count = Annotated[int, AtLeast(1)]
_CountOrZero = Annotated[int, AtLeast(0)]
# Each image of a batch takes memory. No machine can use as many.
_Images = Annotated[int, AtLeast(1), AtMost(65_536)]


@dataclasses.dataclass(frozen=True)
class TrainingConfig(AugmentationConfig):
    """How a model is trained; the defaults are AdelaiDet's 1x schedule (numerics 2.7).

    The fields of `AugmentationConfig` are fields of this class, too.
    """

    steps: _Count = 90_000
    """Optimizer steps."""

    batch_size: _Images = 16
    """Images per step, over all processes."""

    accumulate: _Images = 1
    """Number of parts that the images of a step go through the model in, each with its own normalisers. The gradients
    of the parts are averaged."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The optimizer: "sgd" or "adamw"."""

    learning_rate: Annotated[float, AtLeast(0)] = 0.01
    """Highest learning rate, for `base_batch_size` images per step."""

    base_batch_size: _CountOrZero = 16
    """The learning rate is multiplied by batch_size / base_batch_size; 0 takes it as it is."""

    momentum: Annotated[float, AtLeast(0)] = 0.9
    """Momentum of SGD."""

    weight_decay: Annotated[float, AtLeast(0)] = 1e-4
    """Weight decay of all parameters but those of norm layers."""

    schedule: Literal["steps", "cosine"] = "steps"
    """How the learning rate falls: to a tenth at each of `milestones` ("steps"), or to 0 along a cosine ("cosine")."""

    milestones: tuple[int, ...] = (60_000, 80_000)
    """Steps at which the schedule "steps" lowers the learning rate."""

    warmup_steps: _CountOrZero = 1000
    """Steps of a linear rise of the learning rate from a thousandth."""

    clip_gradient_norm: Annotated[float, AtLeast(0)] = 0.0
    """Larger gradient norms are scaled down to it; 0 for never."""

    ema_decay: Annotated[float, AtLeast(0), Below(1)] = 0.0
    """The weights that are validated and saved are a moving average with this decay; 0 for the plain weights."""

    precision: Precision = "auto"
    """Precision of the network: "32-true", "bf16-mixed", "16-mixed" (with scaled gradients, on a GPU), or "auto", which
    takes 16 bits where the device has instructions for them, see `condinst.precision`. The losses are always computed
    in float32."""

    channels_last: bool = False
    """Whether the weights of the convolutions, and so all maps, are in channels-last order."""

    group_by_aspect_ratio: bool = True
    """Whether a batch has upright images only or wide images only, which needs less padding."""

    num_workers: Annotated[int, AtLeast(0), AtMost(1024)] = 2
    """Processes that prepare images."""

    seed: int = 0
    """Seed of the order of the data, of random changes and of the model's own random numbers."""

    log_every: _Count = 20
    """Steps between two lines of the log."""

    checkpoint_minutes: Annotated[float, AtLeast(0)] = 10.0
    """Minutes between two resumable checkpoints; 0 writes one after each step."""

    validate_every: _CountOrZero = 0
    """Steps between two validations; 0 validates at the end only."""

    validation_images: _CountOrZero = 0
    """Images of each validation during training, 0 for all. The one at the end takes all."""

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
        ValueError: an unknown name, or a value that the field does not allow.
    """
    changes = parse_settings("--set", TrainingConfig, settings)
    changes |= _check_each("", TrainingConfig, dict(overrides))
    where = f"{source}: [training]"
    table = load_training_table(source)
    values = _check_each(where, TrainingConfig, {name: table[name] for name in table if name not in changes})
    try:
        return TrainingConfig(**(values | changes))
    except ValueError as error:  # two fields contradict each other
        if changes:  # either of them may have set it
            raise
        raise ValueError(f"{where} {error}") from error


def parse_settings(option: str, kind: type[Any], settings: Iterable[str]) -> dict[str, Any]:
    """Fields of a dataclass from words NAME=VALUE; values are written as in TOML, quotes may be left out.

    Args:
        option: of the command line, for messages.
        kind: the dataclass, whose fields all have defaults.
        settings: the words.

    Raises:
        ValueError: an unknown name, or a value that the field does not allow.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{option}: expected NAME=VALUE, got {setting!r}")
        try:
            values[name] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML: text without quotes
            values[name] = text
    return _check_each(option, kind, values)


def _check_each(where: str, kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Values of fields, by their present names, each checked alone; `where` begins the message of an error."""
    try:
        return {name: check_field(kind, name, value) for name, value in rename_old_fields(kind, values).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} {error}".lstrip()) from error
