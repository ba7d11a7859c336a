"""Reads weights from foreign files: no code in them runs, and all numbers in them are checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...messages import is_out_of_memory, shorten_text
from .arrays import array_of, ignored_value
from .errors import CUT_OFF, CheckpointError, shorten_all
from .formats import describe_file, is_safetensors, read_head
from .other_models import describe_class
from .torch_files import read_torch
from .wrappers import unwrap

_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)
"""The dtypes of weights: real numbers, one in each element."""


def read_content(path: Path) -> tuple[Any, dict[str, str]]:
    """Everything that a weights file holds, and its metadata (safetensors only).

    Args:
        path: safetensors, a pickle of arrays, or anything that `torch.save` wrote, whatever its ending. What of them is
            read, and to what limits, is in docs/foreign_files.md.

    Raises:
        CheckpointError: no such file, unreadable, asks to run code or for more memory than its size explains, or a file
            of another kind; the message names the file.
        MemoryError: there is less memory than the file needs.
    """
    if _check_format(path) == "safetensors":
        return _named(path, lambda: _read_safetensors(path))
    return _named(path, lambda: read_torch(path, describe_class)), {}


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weights file of any model, and its metadata (safetensors only).

    Args:
        path: as in `read_content`. The state dict may lie under one of the names that frameworks have for it.

    Raises:
        CheckpointError: as `read_content`; or the file holds no tensors.
        MemoryError: there is less memory than the file needs.
    """
    content, metadata = read_content(path)
    return tensors_in(path, unwrap(content)), metadata


def tensors_in(path: Path, state: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, arrays among them. What is none is left out.

    Args:
        path: the file, for messages.
        state: what should be a state dict.

    Raises:
        CheckpointError: no dict, none of its values is a tensor, or one is a tensor or an array of a dtype that no
            weights have.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: expected a dict of tensors, got {type(state).__name__}")
    values = {key: _as_tensor(path, key, value) for key, value in state.items() if isinstance(key, str)}
    tensors = {key: value for key, value in values.items() if value is not None}
    if not tensors:
        raise CheckpointError(f"{path}: expected a dict of tensors, found none among {shorten_all(values)}")
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weights file, without its tensors; empty for all files but safetensors.

    Raises:
        CheckpointError: no such file, or an unreadable file; the message names it.
    """
    if _check_format(path) == "safetensors":
        return _named(path, lambda: _read_safetensors_metadata(path))
    return {}


def read_torch_file(path: Path) -> Any:
    """The content of a file of `torch.save`, with its tensors on the CPU; see docs/foreign_files.md for what is read.

    Raises:
        CheckpointError: unreadable, asks to run code, or for more memory than its size explains; the message names it.
    """
    _check_format(path)
    return _named(path, lambda: read_torch(path, describe_class))


def _check_format(path: Path) -> Literal["safetensors", "pickle"]:
    """Which reader takes a file, by its content. An empty or damaged file goes to the reader that its ending names.

    Raises:
        CheckpointError: no such file, or one that is certainly none of weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
    head = _named(path, lambda: read_head(path))
    if is_safetensors(head):
        return "safetensors"
    kind = describe_file(path, head)
    if kind:
        raise CheckpointError(f"{path}: expected a file of weights, got {kind}")
    return "safetensors" if path.suffix == ".safetensors" and len(head) < 9 else "pickle"


def _as_tensor(path: Path, name: str, value: Any) -> Tensor | None:
    """A value as a tensor; None for a value that is neither a tensor nor an array."""
    array = array_of(value)
    if array is not None:
        return torch.from_numpy(array).contiguous()
    ignored = ignored_value(value)
    if ignored is not None:
        raise CheckpointError(f"{path}: refused: {shorten_text(name)}: expected a tensor, got {ignored.kind}")
    if isinstance(value, Tensor) and value.dtype not in _DTYPES:
        raise CheckpointError(f"{path}: {shorten_text(name)}: expected plain numbers, got {value.dtype}")
    return value if isinstance(value, Tensor) else None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _open_safetensors(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _read_safetensors_metadata(path: Path) -> dict[str, str]:
    with _open_safetensors(path) as file:
        return file.metadata() or {}


def _open_safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        if not re.search("incomplete metadata|header (length|too small)", str(error)):
            raise
        raise CheckpointError(
            f"{CUT_OFF}: the {path.stat().st_size} bytes of the file are not those that its header announces"
        ) from error


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
