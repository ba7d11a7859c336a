"""Reads weights from foreign files: no code in them runs, and all numbers in them are checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ...messages import is_out_of_memory, shorten_text
from .arrays import array_of, numpy_names
from .errors import CheckpointError, shorten_all
from .pickles import Budget, containers, read_pickle
from .torch_files import read_torch

# keys under which frameworks keep the state dict
_WRAPPERS = ("model", "state_dict", "blobs")

# The training checkpoints of MMEngine contain the history of the losses as objects.
_MMENGINE_HINT = "; MMDetection's tools/model_converters/publish_model.py makes a file without such objects"

_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)
"""The dtypes of weights: real numbers, one in each element."""


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weights file, and its metadata (safetensors only).

    Args:
        path: `.safetensors`, a pickle of arrays (`.pkl`), or any file of `torch.save`. docs/foreign_files.md describes
            which content is read, and the limits.

    Raises:
        CheckpointError: no such file, unreadable, asks to run code or for more memory than its size explains, or holds
            no tensors; the message names the file.
        MemoryError: there is less memory than the file needs.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    metadata: dict[str, str] = {}
    state: Any
    if path.suffix == ".safetensors":
        state, metadata = _named(path, lambda: _read_safetensors(path))
    elif path.suffix == ".pkl":
        state = _named(path, lambda: _read_array_pickle(path))
    else:
        state = read_torch_file(path)
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: expected a dict of tensors, got {type(state).__name__}")
    tensors = {key: _as_tensor(path, key, value) for key, value in state.items() if isinstance(key, str)}
    weights = {key: value for key, value in tensors.items() if value is not None}
    if not weights:
        raise CheckpointError(f"{path}: expected a dict of tensors, found none among {shorten_all(tensors)}")
    return weights, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weights file, without its tensors; empty for all files but safetensors.

    Raises:
        CheckpointError: no such file, or an unreadable file; the message names it.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    return _named(path, lambda: _read_safetensors_metadata(path)) if path.suffix == ".safetensors" else {}


def read_torch_file(path: Path) -> Any:
    """The content of a file of `torch.save`, with its tensors on the CPU; see docs/foreign_files.md for what is read.

    Raises:
        CheckpointError: unreadable, asks to run code, or for more memory than its size explains; the message names it.
    """
    return _named(path, lambda: read_torch(path, _hint))


def _as_tensor(path: Path, name: str, value: Any) -> Tensor | None:
    """A value as a tensor; None for a value that is neither a tensor nor an array."""
    array = array_of(value)
    if array is not None:
        return torch.from_numpy(array).contiguous()
    if isinstance(value, Tensor) and value.dtype not in _DTYPES:
        raise CheckpointError(f"{path}: {shorten_text(name)}: expected plain numbers, got {value.dtype}")
    return value if isinstance(value, Tensor) else None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _read_safetensors_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _read_array_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        budget = Budget(2 * size)
        return read_pickle(file, size, {**containers(size), **numpy_names(budget)}, _hint)


def _named(path: Path, read: Callable[[], Any]) -> Any:
    """The result of `read`. An error in it is raised as a CheckpointError with the name of the file."""
    try:
        return read()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # the type of the exception depends on how the file is damaged
        if is_out_of_memory(error):
            raise MemoryError(f"{path}: not enough memory for this file") from error
        reason = shorten_text(f"{type(error).__name__}: {error}")
        raise CheckpointError(f"{path}: refused: damaged, or not a file of tensors ({reason})") from error


def _hint(name: str) -> str:
    """Advice for a file that asks for an object of this name."""
    return _MMENGINE_HINT if name.startswith("mmengine.") else ""
