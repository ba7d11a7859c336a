"""Which of the state dicts in a file is that of a CondInst, and of which framework."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from . import adelaidet, mmdetection
from .errors import CheckpointError, shorten_all
from .files import tensors_in
from .wrappers import is_averaged, rank, state_dicts, submodels

_ANCHORS: tuple[tuple[str, ModuleType | None], ...] = (
    (adelaidet.ANCHOR, adelaidet),
    (mmdetection.ANCHOR, mmdetection),
    ("head.controller.weight", None),
)
"""A tensor that every CondInst of a framework has; None is this package."""


@dataclasses.dataclass(frozen=True)
class ModelState:
    """The state dict of a CondInst in a file.

    Args:
        place: the names that lead to it, with the prefix of its tensors.
        framework: as in `Checkpoint`.
        state: its tensors, without prefixes.
    """

    place: str
    framework: ModuleType | None
    state: Mapping[str, Tensor]


def find_model(path: Path, content: Any) -> ModelState | None:
    """The state dict of the CondInst in a file: the moving average of the weights where there is one.

    Args:
        path: the file, for messages.
        content: what it holds.

    Returns:
        None where no CondInst is in the file.

    Raises:
        CheckpointError: one name for two tensors, or a tensor or an array of a dtype that no weights have.
    """
    models = _find_models(path, content)
    if len(models) < 2:
        return models[0] if models else None
    if is_training_state(content):
        return next((model for model in models if model.place.startswith("average")), models[0])
    averages = [model for model in models if is_averaged(model.place)]
    if _is_swapped(models, content):  # MMEngine saves the average as the state_dict
        averages = [model for model in models if model.place == "state_dict"]
    chosen = min(averages or models, key=lambda model: rank(model.place))
    places = shorten_all(model.place or "no name" for model in models)
    warnings.warn(
        f"{path}: the file has the weights of {len(models)} models, under {places}; those under"
        f" {chosen.place or 'no name'} are used{', which are a moving average' if averages else ''}",
        stacklevel=5,
    )
    return chosen


def _find_models(path: Path, content: Any) -> list[ModelState]:
    models = []
    for place, state in state_dicts(content):
        for anchor, framework in _ANCHORS:
            try:
                states = submodels(state, anchor)
            except ValueError as error:
                raise CheckpointError(f"{path}: {error}") from None
            for prefix, values in states.items():
                if framework is adelaidet and not adelaidet.is_adelaidet(values):
                    continue
                if framework is mmdetection and not mmdetection.is_mmdetection(values):
                    continue
                name = f"{place}.{prefix}" if place and prefix else place + prefix
                models.append(ModelState(name.rstrip("."), framework, tensors_in(path, values)))
    return models


def _is_swapped(models: list[ModelState], content: Mapping[str, Any]) -> bool:
    """Whether this is a training checkpoint of MMEngine, whose `ema_state_dict` has the weights before averaging."""
    meta = content.get("meta")
    mmengine = isinstance(meta, Mapping) and "mmengine_version" in meta
    places = {model.place for model in models}
    return {"state_dict", "ema_state_dict"} <= places and (
        mmengine or all(model.framework is mmdetection for model in models)
    )


def is_training_state(content: Any) -> bool:
    """Whether this is the state of a training, as `condinst train` writes it to last.pt."""
    return isinstance(content, Mapping) and {"model", "average", "optimizer", "moving_num_positives"} <= content.keys()
