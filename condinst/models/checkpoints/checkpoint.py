"""A weights file of one of the three supported kinds: its path, its config and its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from torch import Tensor

from ..config import CondInstConfig
from ..config_files import config_names, load_config
from . import adelaidet, mmdetection
from .errors import CheckpointError, shorten_all
from .files import read_metadata, read_state

CONFIG_KEY = "condinst_config"
"""The key in the metadata of the package's safetensors files that has the config, as JSON."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of a weights file.

    Args:
        path: path of the file.
        state: tensors of the file, under the names of the framework that wrote it.
        metadata: metadata of the file (safetensors only).
    """

    path: Path
    state: Mapping[str, Tensor]
    metadata: Mapping[str, str]

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
        checkpoint = cls(path, *read_state(path))
        if not (checkpoint._is_ours or checkpoint._is_adelaidet or checkpoint._is_mmdetection):
            raise CheckpointError(
                f"{path}: expected a condinst safetensors file or an AdelaiDet CondInst checkpoint (controller.weight,"
                " proposal_generator.fcos_head.*) or one of MMDetection (bbox_head.controller.weight, mask_head.*),"
                f" got keys such as {shorten_all(list(checkpoint.state)[:5])}"
            )
        return checkpoint

    @property
    def _is_ours(self) -> bool:
        return CONFIG_KEY in self.metadata

    @property
    def _is_adelaidet(self) -> bool:
        return adelaidet.is_adelaidet(self.state)

    @property
    def _is_mmdetection(self) -> bool:
        return mmdetection.is_mmdetection(self.state)

    def config(self) -> CondInstConfig:
        """The config in the metadata, or the config detected from the keys and shapes of a foreign checkpoint.

        Raises:
            CheckpointError: a config that no model can have.
        """
        if self._is_ours:
            return _parse_config(self.path, self.metadata[CONFIG_KEY])
        detect_config = adelaidet.detect_config if self._is_adelaidet else mmdetection.detect_config
        try:
            return detect_config(self.state, str(self.path))
        except CheckpointError:
            raise
        except Exception as error:  # Tensors of unexpected dtypes and shapes can make any operation of PyTorch fail.
            raise _config_error(self.path, error) from error

    def state_for(self, config: CondInstConfig) -> Mapping[str, Tensor]:
        """The weights under the names of a model with this config."""
        if self._is_ours:
            return self.state
        convert_state = adelaidet.convert_state if self._is_adelaidet else mmdetection.convert_state
        return convert_state(self.state, config)


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
    if CONFIG_KEY in metadata:
        return _parse_config(path, metadata[CONFIG_KEY])
    return Checkpoint.read(path).config()


def _parse_config(path: Path, text: str) -> CondInstConfig:
    try:
        return CondInstConfig.from_json(text)
    except Exception as error:
        raise _config_error(path, error) from error


def _config_error(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: the config of the file: {error}")
