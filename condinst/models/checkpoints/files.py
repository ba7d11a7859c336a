"""Reads weights from foreign files without running code that is in them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError

# keys under which frameworks keep the state dict
_WRAPPERS = ("model", "state_dict", "blobs")

# its training checkpoints hold the course of the losses as objects
_MMENGINE_HINT = "; MMDetection's tools/model_converters/publish_model.py makes a file without such objects"


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weights file, and its metadata (safetensors only).

    Args:
        path: `.safetensors`, a pickle of arrays (`.pkl`, read with arrays and plain containers only), or anything that
            `torch.save` wrote (read with `weights_only=True`).

    Raises:
        CheckpointError: no such file, unreadable, asks to run code, or holds no tensors; the message names the file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    metadata: dict[str, str] = {}
    state: Any
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
    elif path.suffix == ".pkl":
        state = _read_pickle(path)
    else:
        state = _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: expected a dict of tensors, got {type(state).__name__}")
    tensors = {str(key): _as_tensor(value) for key, value in state.items()}
    found = {key: value for key, value in tensors.items() if value is not None}
    if not found:
        raise CheckpointError(f"{path}: expected a dict of tensors, found none among {list(tensors)[:8]}")
    return found, metadata


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(value))
    return None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises depends on where the damage is
        # PyTorch's own message advises to run what is in the file
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted:
            hint = _MMENGINE_HINT if wanted[1].startswith("mmengine.") else ""
            raise CheckpointError(
                f"{path}: refused: the file asks for {wanted[1]}; only tensors are read{hint}"
            ) from None
        raise CheckpointError(
            f"{path}: refused: damaged, or not a PyTorch checkpoint of tensors alone ({type(error).__name__})"
        ) from error


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise CheckpointError(f"{path}: not a readable pickle: {error}") from error


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 2 strings travel in a protocol 2 pickle; no codec but this one."""
    if encoding not in ("latin1", "latin-1"):
        raise CheckpointError(f"refused: the pickle asks for the codec {encoding!r}")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """Admits NumPy arrays and plain containers; every other global is refused before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 renamed numpy.core to numpy._core; files of both ages are around
        module = module.replace("numpy._core.", "numpy.core.")
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) == ("numpy.core.multiarray", "scalar"):
            return np._core.multiarray.scalar  # type: ignore[attr-defined]
        if (module, name) == ("numpy.core.numeric", "_frombuffer"):
            return np._core.numeric._frombuffer  # type: ignore[attr-defined]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise CheckpointError(
            f"refused: the pickle asks for {module}.{name}; only arrays and plain containers are read"
        )
