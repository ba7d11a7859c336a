"""Argument checks shared by the operators. Each message names the argument, what was expected and what was given."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_tensor(name: str, value: object, dtypes: Collection[torch.dtype], min_dims: int = 0) -> None:
    """Raise unless `value` is a dense tensor of one of `dtypes` with at least `min_dims` dimensions.

    Raises:
        TypeError: not a tensor, or another dtype.
        ValueError: too few dimensions, or a sparse layout.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")
    if value.dtype not in dtypes:
        expected = ", ".join(_short(dtype) for dtype in dtypes)
        raise TypeError(f"{name}: expected dtype {expected}; got {_short(value.dtype)}")
    if value.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got layout {value.layout}")
    if value.dim() < min_dims:
        raise ValueError(f"{name}: expected at least {min_dims} dimensions, got shape {list(value.shape)}")


def check_same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless two tensors have the same shape and device."""
    if value.shape != other.shape:
        raise ValueError(f"{name}: expected the shape of {other_name} {list(other.shape)}, got {list(value.shape)}")
    check_same_device(name, value, other_name, other)


def check_choice(name: str, value: str | int, choices: Collection[str | int]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices or isinstance(value, bool):
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}; got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a positive finite number, got {value}")


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `value` has exactly this shape."""
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(value.shape)}")


def check_dims(name: str, value: Tensor, dims: int) -> None:
    """Raise ValueError unless `value` has exactly this many dimensions."""
    if value.dim() != dims:
        raise ValueError(f"{name}: expected {dims} dimensions, got shape {list(value.shape)}")


def check_same_dtype(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise TypeError unless two tensors have one dtype."""
    if value.dtype != other.dtype:
        raise TypeError(
            f"{name}: expected the dtype of {other_name} ({_short(other.dtype)}), got {_short(value.dtype)}"
        )


def check_index_range(name: str, indices: Tensor, size: int) -> None:
    """Raise ValueError unless all `indices` are in 0 .. size - 1; on the CPU and outside of ``torch.compile`` only.

    Reading values on a GPU would wait for it, and compiled code cannot branch on them: kernels check there.
    """
    if indices.device.type != "cpu" or indices.numel() == 0 or torch.compiler.is_compiling():
        return
    least, largest = (int(bound) for bound in indices.aminmax())
    if least < 0 or largest >= size:
        wrong = least if least < 0 else largest
        raise ValueError(f"{name}: expected indices in 0 .. {size - 1}, got {wrong}")


def check_same_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless two tensors are on one device."""
    if value.device != other.device:
        raise ValueError(f"{name}: expected the device of {other_name} ({other.device}), got {value.device}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Raise unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
