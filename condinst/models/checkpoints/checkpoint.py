"""A weights file of one of the kinds that are read: where it is, what config it has, and its weights."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from ...classes import Classes
from ..config import CondInstConfig
from ..config_files import coco_classes, config_names, load_config
from .class_names import find_class_names
from .errors import CheckpointError, shorten_all
from .files import read_content, read_metadata, tensors_in
from .model_states import find_model, is_training_state
from .other_models import describe_keys
from .wrappers import state_dicts, unwrap

CONFIG_KEY = "condinst_config"
"""The key in the metadata of the package's safetensors files that has the config, as JSON."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of a weights file.

    Args:
        path: the file.
        state: the tensors of the model, under the names of the framework that wrote it.
        framework: the module that knows these names; None for our own.
        config_text: the config in a file of ours, as JSON.
        class_names: the name of each label in a foreign file; empty where it has none.
    """

    path: Path
    state: Mapping[str, Tensor]
    framework: ModuleType | None = None
    config_text: str | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def find(cls, source: str | Path) -> Checkpoint | None:
        """Reads the file of a path or of the name of a built-in config; None for a config without weights.

        Raises:
            CheckpointError: as `read`.
            ValueError: an unknown name.
        """
        path = find_weights(source)
        return None if path is None else cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Reads a file.

        Raises:
            CheckpointError: the file cannot be read, asks to run code, or is not a CondInst checkpoint.
        """
        content, metadata = read_content(path)
        config_text = metadata.get(CONFIG_KEY) or _training_config(content)
        model = find_model(path, content)
        if model is None and config_text is None:
            raise CheckpointError(_describe_content(path, content))
        if model is None:
            return cls(path, tensors_in(path, content), config_text=config_text)
        return cls(path, model.state, model.framework, config_text, find_class_names(content))

    def config(self) -> CondInstConfig:
        """The config in the file, or the one that keys and shapes of a foreign checkpoint show, with its class names.

        Raises:
            CheckpointError: a config that no model can have, or a file of ours without a config.
        """
        if self.framework is None:
            return self._own_config()
        try:
            config: CondInstConfig = self.framework.detect_config(self.state, str(self.path))
        except CheckpointError:
            raise
        except Exception as error:  # Tensors of unexpected dtypes and shapes can make any operation of PyTorch fail.
            raise _config_error(self.path, error) from error
        return config.replace(classes=self._classes(config.classes)) if self.class_names else config

    def _own_config(self) -> CondInstConfig:
        if self.config_text is None:
            raise CheckpointError(
                f"{self.path}: the weights of a condinst model without its config; expected a file of"
                " condinst.save_checkpoint, or a config with the weights"
            )
        return _parse_config(self.path, self.config_text)

    def _classes(self, classes: Classes) -> Classes:
        """The classes that were detected, with the names in the file."""
        names = self.class_names
        if len(names) != classes.num_classes:
            warnings.warn(
                f"{self.path}: the file names {len(names)} classes ({shorten_all(names)}), but the model has"
                f" {classes.num_classes}; the names are not used",
                stacklevel=4,
            )
            return Classes(classes.num_classes)
        coco = coco_classes(len(names))
        return coco if coco.class_names == names else Classes(len(names), class_names=names)

    def state_for(self, config: CondInstConfig) -> Mapping[str, Tensor]:
        """The weights under the names that a model with this config has for them."""
        if self.framework is None:
            return self.state
        state: Mapping[str, Tensor] = self.framework.convert_state(self.state, config)
        return state


def _training_config(content: Any) -> str | None:
    """The config in the state of a training, as `condinst train` writes it to last.pt, in JSON."""
    config = content.get("config") if is_training_state(content) else None
    return config if isinstance(config, str) else None


def _describe_content(path: Path, content: Any) -> str:
    """What a file holds that has no CondInst in it.

    Raises:
        CheckpointError: it has no tensors at all.
    """
    optimizer = content.get("optimizer", content) if isinstance(content, Mapping) else None
    if isinstance(optimizer, Mapping) and {"state", "param_groups"} <= optimizer.keys():
        others = [key for key in content if key not in ("optimizer", "state", "param_groups")]
        if not any(isinstance(content[key], Mapping) and content[key] for key in others):
            return f"{path}: expected the weights of a CondInst, got the state of an optimizer without weights"
    keys = [key for _, state in state_dicts(content) for key in state]
    tensors_in(path, unwrap(content))
    return (
        f"{path}: expected a condinst safetensors file or an AdelaiDet CondInst checkpoint (controller.weight,"
        " proposal_generator.fcos_head.*) or one of MMDetection (bbox_head.controller.weight, mask_head.*),"
        f" got keys such as {shorten_all(keys[:5])}{describe_keys(keys)}"
    )


def find_weights(source: str | Path) -> Path | None:
    """The weights file of a path or of the name of a built-in config; None for a config without weights.

    Raises:
        ValueError: an unknown name.
    """
    path = Path(source)
    if not path.is_file() and str(source) in config_names():
        packaged = resources.files("condinst") / "weights" / f"{source}.safetensors"
        return Path(str(packaged)) if packaged.is_file() else None
    if not path.exists() and path.suffix == "":
        raise ValueError(f"source: expected a weights file or one of {', '.join(config_names())}, got {str(source)!r}")
    return path


def read_config(source: str | Path) -> CondInstConfig:
    """The config of a checkpoint, without making a model.

    Only the metadata of the package's safetensors files are read, so the weights are not checked.

    Args:
        source: as in `load`: the name of a built-in config, or a weights file.

    Raises:
        CheckpointError: (a ValueError) the file cannot be read, has code in it or a config that no model can have.
        ValueError: an unknown name.
    """
    path = find_weights(source)
    if path is None:
        return load_config(source)
    metadata = read_metadata(path)
    if metadata.get(CONFIG_KEY):
        return _parse_config(path, metadata[CONFIG_KEY])
    return Checkpoint.read(path).config()


def _parse_config(path: Path, text: str) -> CondInstConfig:
    try:
        return CondInstConfig.from_json(text)
    except Exception as error:
        raise _config_error(path, error) from error


def _config_error(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: the config of the file: {error}")
