"""Argument checks shared by the operators. Each message names the argument, what was expected and what was given."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

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
    if not 0 < value < math.inf:  # math.isfinite breaks torch.compile's graph once a number has changed
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


def check_index_range(name: str, indices: Tensor, size: int, least: int = 0) -> None:
    """Raise ValueError unless all `indices` are in least .. size - 1; on the CPU and outside of ``torch.compile`` only.

    Reading values on a GPU would wait for it, and compiled code cannot branch on them: kernels check there.
    """
    if indices.device.type != "cpu" or indices.numel() == 0 or torch.compiler.is_compiling():
        return
    lowest, highest = (int(bound) for bound in indices.aminmax())
    if lowest < least or highest >= size:
        wrong = lowest if lowest < least else highest
        raise ValueError(f"{name}: expected numbers in {least} .. {size - 1}, got {wrong}")


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


def check_probability(name: str, value: float) -> None:
    """Raise unless `value` is a number in 0..1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number in 0..1, got {value}")


def check_levels(level_sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> None:
    """Raise ValueError unless the levels of a pyramid have sizes of at least 0 and one positive stride each."""
    if len(level_sizes) != len(strides):
        raise ValueError(f"level_sizes: expected one per stride ({len(strides)}), got {len(level_sizes)}")
    if any(min(size) < 0 for size in level_sizes):
        raise ValueError(f"level_sizes: expected (height, width) of at least 0, got {level_sizes}")
    if any(stride < 1 for stride in strides):
        raise ValueError(f"strides: expected at least 1, got {strides}")


def check_candidates(
    name: str,
    candidates: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    max_detections: int = 0,
    num_images: int | None = None,
    capacity: int | None = None,
) -> None:
    """What the operators that suppress duplicates ask of their arguments; `name` is that of the first."""
    check_tensor("scores", scores, FLOATING)
    check_tensor("labels", labels, (torch.int64,))
    check_tensor("image_indices", image_indices, (torch.int64,))
    for other, value in (("scores", scores), ("labels", labels), ("image_indices", image_indices)):
        check_shape(other, value, (candidates.shape[0],))
        check_same_device(other, value, name, candidates)
    check_at_least("max_detections", max_detections, 0)
    if capacity is not None:
        check_at_least("capacity", capacity, max(max_detections, 1))
    if num_images is not None:
        check_at_least("num_images", num_images, 0)
        check_index_range("image_indices", image_indices, num_images, least=-1)
